package metricsapi

import (
	"math"
	"net/http"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	custom "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	external "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"sphere.dev/controlplane/internal/load"
)

// requestsPerSecond is the one metric of pods besides CPU and memory.
const requestsPerSecond = "requests_per_second"

// resource serves metrics.k8s.io as metrics-server does.
func (g *Groups) resource() http.Handler {
	mux := http.NewServeMux()
	verbs := metav1.Verbs{"get", "list"}
	discovery(Resource, mux,
		metav1.APIResource{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
		metav1.APIResource{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: verbs},
	)
	prefix := "GET /apis/" + Resource + "/" + versions[Resource]
	all := func(w http.ResponseWriter, r *http.Request) {
		usages, ok := g.usages(w, r, Resource, r.PathValue("namespace"), r.URL.Query().Get("labelSelector"))
		if !ok {
			return
		}
		items := []metrics.PodMetrics{}
		for _, usage := range usages {
			items = append(items, podMetrics(usage))
		}
		g.respond(w, Resource, r.PathValue("namespace"), metrics.PodMetricsList{
			TypeMeta: metav1.TypeMeta{Kind: "PodMetricsList", APIVersion: Resource + "/v1beta1"}, Items: items,
		})
	}
	mux.HandleFunc(prefix+"/pods", all)
	mux.HandleFunc(prefix+"/namespaces/{namespace}/pods", all)
	mux.HandleFunc(prefix+"/namespaces/{namespace}/pods/{name}", func(w http.ResponseWriter, r *http.Request) {
		usages, ok := g.usages(w, r, Resource, r.PathValue("namespace"), "")
		if !ok {
			return
		}
		for _, usage := range usages {
			if usage.Pod.Name == r.PathValue("name") {
				answer(w, podMetrics(usage))
				return
			}
		}
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no metrics of pod %s", r.PathValue("name"))
	})
	mux.HandleFunc(prefix+"/nodes", func(w http.ResponseWriter, r *http.Request) {
		answer(w, metrics.NodeMetricsList{
			TypeMeta: metav1.TypeMeta{Kind: "NodeMetricsList", APIVersion: Resource + "/v1beta1"}, Items: g.nodes(),
		})
	})
	return mux
}

// usages that a request asks for, after faults, by name.
func (g *Groups) usages(
	w http.ResponseWriter, r *http.Request, group, namespace, text string,
) ([]load.Usage, bool) {
	selector, err := labels.Parse(text)
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "label selector %q: %v", text, err)
		return nil, false
	}
	usages := g.world.Usages(namespace, selector)
	var kept []load.Usage
	for _, usage := range usages {
		fault, found := g.fault(group, usage.Pod.Namespace)
		if found && (fault.Kind == "empty" || fault.Kind == "partial" && fault.drops(usage.Pod.Name)) {
			continue
		}
		kept = append(kept, usage)
	}
	sort.Slice(kept, func(i, j int) bool {
		a, b := kept[i].Pod, kept[j].Pod
		return a.Namespace < b.Namespace || a.Namespace == b.Namespace && a.Name < b.Name
	})
	return kept, true
}

// respond writes an answer, or one whose quantities are garbage.
func (g *Groups) respond(w http.ResponseWriter, group, namespace string, object any) {
	if fault, found := g.fault(group, namespace); found && fault.Kind == "garbage" {
		spoil(w, object, fault.Body)
		return
	}
	answer(w, object)
}

func podMetrics(usage load.Usage) metrics.PodMetrics {
	one := metrics.PodMetrics{
		TypeMeta: metav1.TypeMeta{Kind: "PodMetrics", APIVersion: Resource + "/v1beta1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: usage.Pod.Name, Namespace: usage.Pod.Namespace, Labels: usage.Pod.Labels,
			CreationTimestamp: metav1.NewTime(time.Now()),
		},
		Timestamp: metav1.NewTime(usage.At),
		Window:    metav1.Duration{Duration: usage.Window},
	}
	for i, container := range usage.Pod.Spec.Containers {
		cores, memory := usage.Cores, usage.Memory
		if i > 0 {
			// The first container does the work; the others are there.
			cores, memory = 0, 1<<20
		}
		one.Containers = append(one.Containers, metrics.ContainerMetrics{
			Name: container.Name,
			Usage: corev1.ResourceList{
				corev1.ResourceCPU:    nano(cores),
				corev1.ResourceMemory: *resource.NewQuantity(int64(memory), resource.BinarySI),
			},
		})
	}
	return one
}

// nano cores, as metrics-server writes them.
func nano(cores float64) resource.Quantity {
	return *resource.NewScaledQuantity(int64(math.Round(cores*1e9)), resource.Nano)
}

func (g *Groups) nodes() []metrics.NodeMetrics {
	items := []metrics.NodeMetrics{}
	byNode := map[string][]load.Usage{}
	for _, usage := range g.world.Usages("", labels.Everything()) {
		byNode[usage.Pod.Spec.NodeName] = append(byNode[usage.Pod.Spec.NodeName], usage)
	}
	for _, node := range g.world.Facts().Nodes {
		one := metrics.NodeMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, CreationTimestamp: metav1.NewTime(time.Now())},
			Timestamp:  metav1.NewTime(time.Now()),
		}
		cores, memory := 0.1, 1e9
		for _, usage := range byNode[node.Name] {
			cores, memory = cores+usage.Cores, memory+usage.Memory
			one.Timestamp, one.Window = metav1.NewTime(usage.At), metav1.Duration{Duration: usage.Window}
		}
		one.Usage = corev1.ResourceList{
			corev1.ResourceCPU:    nano(cores),
			corev1.ResourceMemory: *resource.NewQuantity(int64(memory), resource.BinarySI),
		}
		items = append(items, one)
	}
	return items
}

// custom serves requests_per_second of pods, as an adapter of Prometheus does.
func (g *Groups) custom() http.Handler {
	mux := http.NewServeMux()
	discovery(Custom, mux, metav1.APIResource{
		Name: "pods/" + requestsPerSecond, Kind: "MetricValueList", Namespaced: true, Verbs: metav1.Verbs{"get"},
	})
	path := "GET /apis/" + Custom + "/" + versions[Custom] + "/namespaces/{namespace}/pods/{name}/{metric}"
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		namespace, name, metric := r.PathValue("namespace"), r.PathValue("name"), r.PathValue("metric")
		usages, ok := g.usages(w, r, Custom, namespace, r.URL.Query().Get("labelSelector"))
		if !ok {
			return
		}
		items := []custom.MetricValue{}
		for _, usage := range usages {
			if metric != requestsPerSecond || usage.Requests == nil || name != "*" && name != usage.Pod.Name {
				continue
			}
			window := int64(math.Round(usage.Window.Seconds()))
			items = append(items, custom.MetricValue{
				DescribedObject: corev1.ObjectReference{
					Kind: "Pod", APIVersion: "/v1", Namespace: usage.Pod.Namespace, Name: usage.Pod.Name,
				},
				Metric:        custom.MetricIdentifier{Name: metric},
				Timestamp:     metav1.NewTime(usage.At),
				WindowSeconds: &window,
				Value:         *resource.NewMilliQuantity(int64(math.Round(*usage.Requests*1000)), resource.DecimalSI),
			})
		}
		if len(items) == 0 {
			refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound,
				"the server could not find the metric %s for pods %s", metric, name)
			return
		}
		g.respond(w, Custom, namespace, custom.MetricValueList{
			TypeMeta: metav1.TypeMeta{Kind: "MetricValueList", APIVersion: Custom + "/v1beta2"}, Items: items,
		})
	})
	return mux
}

// external serves what PUT /external states, and the offered requests of workloads: metric requests_per_second with the
// label `workload`.
func (g *Groups) external() http.Handler {
	mux := http.NewServeMux()
	// Names are not known beforehand, as with most adapters; discovery lists none but the built-in one.
	discovery(External, mux, metav1.APIResource{
		Name: requestsPerSecond, Kind: "ExternalMetricValueList", Namespaced: true, Verbs: metav1.Verbs{"get"},
	})
	path := "GET /apis/" + External + "/" + versions[External] + "/namespaces/{namespace}/{metric}"
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		namespace, metric := r.PathValue("namespace"), r.PathValue("metric")
		selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
		if err != nil {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "label selector: %v", err)
			return
		}
		items := []external.ExternalMetricValue{}
		add := func(value float64, series map[string]string) {
			if selector.Matches(labels.Set(series)) {
				items = append(items, external.ExternalMetricValue{
					MetricName: metric, MetricLabels: series, Timestamp: metav1.NewTime(time.Now()),
					Value: *resource.NewMilliQuantity(int64(math.Round(value*1000)), resource.DecimalSI),
				})
			}
		}
		if value, series, found := g.world.External(load.Key{Namespace: namespace, Name: metric}); found {
			add(value, series)
		}
		if metric == requestsPerSecond {
			for _, size := range g.world.Facts().Sizes {
				if value, found := g.world.OfferedRequests(size.Key); found && size.Key.Namespace == namespace {
					add(value, map[string]string{"workload": size.Key.Name})
				}
			}
		}
		if fault, found := g.fault(External, namespace); found && fault.Kind == "empty" {
			items = items[:0]
		}
		g.respond(w, External, namespace, external.ExternalMetricValueList{
			TypeMeta: metav1.TypeMeta{Kind: "ExternalMetricValueList", APIVersion: External + "/v1beta1"}, Items: items,
		})
	})
	return mux
}
