package load

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

var web = Key{"shop", "web"}

// podOf makes a pod of a StatefulSet called web with a limit of half a core.
func podOf(name string, ready corev1.ConditionStatus) *corev1.Pod {
	controller := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "web", Controller: &controller}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
		}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
		},
	}
}

// worldOf has one ready and one starting pod, and this demand since the instant it returns.
func worldOf(t *testing.T, demand string) (*World, time.Time) {
	t.Helper()
	world := New(Settings{Resolution: 15 * time.Second})
	world.setPod(podOf("web-0", corev1.ConditionTrue))
	world.setPod(podOf("web-1", corev1.ConditionFalse))
	var parsed Demand
	if err := json.Unmarshal([]byte(demand), &parsed); err != nil {
		t.Fatal(err)
	}
	if err := world.SetDemand(web, &parsed); err != nil {
		t.Fatal(err)
	}
	return world, parsed.started
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
		t.Errorf("%s: %g, expected %g", what, got, want)
	}
}

func TestDemandBeyondReadyCapacityIsLost(t *testing.T) {
	world, start := worldOf(t, `{"cores": 0.8}`)
	for i := range 40 {
		world.advance(start.Add(time.Duration(i)*time.Second), 1)
	}
	score, _ := world.Score(web)
	near(t, "seconds over capacity", score.OverSeconds, 40)
	near(t, "the same by bins", score.OverBinSeconds, 40)
	near(t, "lost share", *score.LostShare, 0.3/0.8)
	near(t, "pod-seconds, starting pods too", score.PodSeconds, 80)
	near(t, "ready pod-seconds", score.ReadyPodSeconds, 40)
}

func TestDemandWithinCapacityIsServedWhole(t *testing.T) {
	world, start := worldOf(t, `{"cores": 0.4}`)
	world.advance(start, 10)
	score, _ := world.Score(web)
	near(t, "seconds over capacity", score.OverSeconds, 0)
	near(t, "lost share", *score.LostShare, 0)
}

func TestWithoutDemandNoShareIsLost(t *testing.T) {
	world, start := worldOf(t, `{"cores": 0}`)
	world.advance(start, 10)
	if score, _ := world.Score(web); score.LostShare != nil {
		t.Errorf("a share of nothing: %g", *score.LostShare)
	}
}

func TestUsageIsTheMeanBetweenTwoReadings(t *testing.T) {
	world, start := worldOf(t, `{"cores": [[0, 0.1], [10, 0.4]], "requests_per_second": 20}`)
	world.read(start)
	if usages := world.Usages("shop", labels.Everything()); len(usages) != 0 {
		t.Fatalf("from one reading of young pods nothing is known: %v", usages)
	}
	for i := range 20 {
		world.advance(start.Add(time.Duration(i)*time.Second), 1)
	}
	world.read(start.Add(20 * time.Second))
	for _, usage := range world.Usages("shop", labels.SelectorFromSet(labels.Set{"app": "web"})) {
		want, requests := 0.25, 20.0
		if usage.Pod.Name == "web-1" {
			want, requests = 0, 0
		}
		near(t, usage.Pod.Name, usage.Cores, want)
		near(t, "requests of "+usage.Pod.Name, *usage.Requests, requests)
		if usage.Window != 20*time.Second || !usage.At.Equal(start.Add(20*time.Second)) {
			t.Errorf("window %v at %v", usage.Window, usage.At)
		}
	}
	if usages := world.Usages("shop", labels.SelectorFromSet(labels.Set{"app": "other"})); len(usages) != 0 {
		t.Errorf("the selector counts: %v", usages)
	}
}

func TestStaleNamespacesAreNotRead(t *testing.T) {
	world, start := worldOf(t, `{"cores": 0.4}`)
	world.read(start)
	world.read(start.Add(15 * time.Second))
	world.SetStale(map[string]bool{"shop": true})
	world.read(start.Add(30 * time.Second))
	for _, usage := range world.Usages("shop", labels.Everything()) {
		if !usage.At.Equal(start.Add(15 * time.Second)) {
			t.Errorf("read at %v", usage.At)
		}
	}
}

func TestAPodToBeDeletedServesNobody(t *testing.T) {
	world, start := worldOf(t, `{"cores": 0.4}`)
	gone := podOf("web-0", corev1.ConditionTrue)
	now := metav1.NewTime(start)
	gone.DeletionTimestamp = &now
	world.setPod(gone)
	world.advance(start, 10)
	score, _ := world.Score(web)
	near(t, "lost share", *score.LostShare, 1)
}

func TestCurves(t *testing.T) {
	var curve Curve
	if err := json.Unmarshal([]byte(`[[0, 1], [10, 3], [20, 5]]`), &curve); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		seconds        float64
		linear, repeat bool
		want           float64
	}{
		{0, false, false, 1}, {9.9, false, false, 1}, {10, false, false, 3}, {99, false, false, 5},
		{5, true, false, 2}, {15, true, false, 4}, {99, true, false, 5}, {25, true, true, 2},
	} {
		near(t, "curve", curve.at(one.seconds, one.linear, one.repeat), one.want)
	}
	for _, bad := range []string{`[]`, `[[1, 1]]`, `[[0, 1], [0, 2]]`, `-1`, `"much"`, `[[0, 1, 2]]`, `[[0, -1]]`} {
		if err := json.Unmarshal([]byte(bad), &curve); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
