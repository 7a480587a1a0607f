package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Settings of the physics and of the metrics server.
type Settings struct {
	// Resolution is how often the metrics server reads the counters of pods.
	Resolution time.Duration
	// IdleCores that a running pod uses when nobody asks anything of it.
	IdleCores float64
}

// Key names a workload. Two workloads of different kind and the same name count as one.
type Key struct{ Namespace, Name string }

// World is all workloads, their pods and the demand for them.
type World struct {
	settings Settings

	mu        sync.Mutex
	pods      map[Key]*pod // by namespace and name of the pod
	nodes     map[string]*corev1.Node
	sizes     map[Key]*size
	replicas  map[Key]metav1.OwnerReference // owners of ReplicaSets
	demands   map[Key]*Demand
	scores    map[Key]*scorecard
	externals map[Key]*External
	// stale namespaces, "" for all: the metrics server reads nothing there
	stale map[string]bool
}

// size of a workload as the API says.
type size struct {
	kind  string
	spec  *int32
	ready int32
}

// pod is one pod and its counters.
type pod struct {
	object   *corev1.Pod
	workload Key
	owner    metav1.OwnerReference
	ready    bool
	running  bool
	counters
	// what the metrics server read: the last two times
	last, previous *reading
}

// counters only grow.
type counters struct {
	cpuSeconds float64
	requests   float64
	// counted: requests are known
	counted bool
	memory  float64
}

type reading struct {
	at time.Time
	counters
}

// New is a world without pods.
func New(settings Settings) *World {
	return &World{
		settings: settings, pods: map[Key]*pod{}, nodes: map[string]*corev1.Node{}, sizes: map[Key]*size{},
		replicas: map[Key]metav1.OwnerReference{}, demands: map[Key]*Demand{}, scores: map[Key]*scorecard{},
		externals: map[Key]*External{}, stale: map[string]bool{},
	}
}

// Watch follows pods, nodes and workloads until the context ends. It returns when all have been listed once.
func (w *World) Watch(ctx context.Context, clients kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(clients, 0)
	sources := map[cache.SharedIndexInformer]struct{ set, gone func(any) }{
		factory.Core().V1().Pods().Informer():         {w.setPod, w.dropPod},
		factory.Core().V1().Nodes().Informer():        {w.setNode, w.dropNode},
		factory.Apps().V1().ReplicaSets().Informer():  {w.setReplicaSet, w.dropReplicaSet},
		factory.Apps().V1().Deployments().Informer():  {w.setSize, w.dropSize},
		factory.Apps().V1().StatefulSets().Informer(): {w.setSize, w.dropSize},
	}
	for informer, handle := range sources {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    handle.set,
			UpdateFunc: func(_, object any) { handle.set(object) },
			DeleteFunc: func(object any) {
				if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = unknown.Obj
				}
				handle.gone(object)
			},
		})
		if err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("could not list %v", kind)
		}
	}
	return nil
}

// SetDemand replaces the demand of a workload and starts its score anew.
func (w *World) SetDemand(key Key, demand *Demand) error {
	if err := demand.Check(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	demand.started = time.Now()
	w.demands[key] = demand
	w.scores[key] = newScorecard(key, demand.started)
	return nil
}

// DropDemand ends the demand of a workload; its score stops and is forgotten.
func (w *World) DropDemand(key Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.demands, key)
	delete(w.scores, key)
}

// Score of a workload that has a demand.
func (w *World) Score(key Key) (Score, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	score, found := w.scores[key]
	if !found {
		return Score{}, false
	}
	return score.Score, true
}

// History of a workload that has a demand, about one line a second.
func (w *World) History(key Key) ([]Moment, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	score, found := w.scores[key]
	if !found {
		return nil, false
	}
	return append([]Moment{}, score.history...), true
}

// External is a metric of something outside of the cluster.
type External struct {
	Value  *Curve            `json:"value"`
	Labels map[string]string `json:"labels,omitempty"`

	started time.Time
}

// SetExternal replaces the external metric `key.Name` of a namespace.
func (w *World) SetExternal(key Key, external *External) error {
	if external.Value == nil {
		return errors.New("value: missing; a number or a list of [seconds, value]")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	external.started = time.Now()
	w.externals[key] = external
	return nil
}

// External metric now.
func (w *World) External(key Key) (float64, map[string]string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	external, found := w.externals[key]
	if !found {
		return 0, nil, false
	}
	return external.Value.at(time.Since(external.started).Seconds(), false, false), external.Labels, true
}

// SetStale says in which namespaces the metrics server reads nothing any more ("" is all of them).
func (w *World) SetStale(namespaces map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale = namespaces
}

func keyOf(object metav1.Object) Key { return Key{object.GetNamespace(), object.GetName()} }

func (w *World) setPod(object any) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	known, found := w.pods[keyOf(p)]
	if !found || known.object.UID != p.UID {
		known = &pod{}
		w.pods[keyOf(p)] = known
	}
	known.object = p
	known.running = p.Status.Phase == corev1.PodRunning
	known.ready = false
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady {
			// Endpoints leave a pod out as soon as it is to be deleted.
			known.ready = condition.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	w.assign(known)
}

// assign finds the workload of a pod. The ReplicaSet may become known only later, so it is asked again while unknown.
func (w *World) assign(p *pod) {
	owner := metav1.GetControllerOf(p.object)
	if owner == nil {
		p.workload = keyOf(p.object)
		return
	}
	p.owner = *owner
	p.workload = Key{p.object.Namespace, owner.Name}
	if owner.Kind == "ReplicaSet" {
		if above, found := w.replicas[p.workload]; found {
			p.workload.Name = above.Name
		}
	}
}

func (w *World) dropPod(object any) {
	if p, ok := object.(*corev1.Pod); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.pods, keyOf(p))
	}
}

func (w *World) setNode(object any) {
	if node, ok := object.(*corev1.Node); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.nodes[node.Name] = node
	}
}

func (w *World) dropNode(object any) {
	if node, ok := object.(*corev1.Node); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.nodes, node.Name)
	}
}

func (w *World) setReplicaSet(object any) {
	set, ok := object.(*appsv1.ReplicaSet)
	if !ok {
		return
	}
	owner := metav1.GetControllerOf(set)
	if owner == nil {
		w.setSize(object)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.replicas[keyOf(set)]; known {
		return
	}
	w.replicas[keyOf(set)] = *owner
	for _, p := range w.pods {
		if p.owner.UID == set.UID {
			w.assign(p)
		}
	}
}

func (w *World) dropReplicaSet(object any) {
	if set, ok := object.(*appsv1.ReplicaSet); ok {
		w.mu.Lock()
		delete(w.replicas, keyOf(set))
		w.mu.Unlock()
		if metav1.GetControllerOf(set) == nil {
			w.dropSize(object)
		}
	}
}

func (w *World) setSize(object any) {
	var now size
	var key Key
	switch o := object.(type) {
	case *appsv1.Deployment:
		key, now = keyOf(o), size{"Deployment", o.Spec.Replicas, o.Status.ReadyReplicas}
	case *appsv1.StatefulSet:
		key, now = keyOf(o), size{"StatefulSet", o.Spec.Replicas, o.Status.ReadyReplicas}
	case *appsv1.ReplicaSet:
		key, now = keyOf(o), size{"ReplicaSet", o.Spec.Replicas, o.Status.ReadyReplicas}
	default:
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.sizes[key]
	w.sizes[key] = &now
	if score := w.scores[key]; score != nil && before != nil && before.spec != nil && now.spec != nil {
		score.resized(*before.spec, *now.spec)
	}
}

func (w *World) dropSize(object any) {
	if o, ok := object.(metav1.Object); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.sizes, keyOf(o))
	}
}
