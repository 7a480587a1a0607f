package load

import (
	"context"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// tick of the physics: short against the second in which users would notice.
	tick = 200 * time.Millisecond
	// defaultMemory of a pod without a memory demand.
	defaultMemory = 64 << 20
	// freshPod is the youngest age at which a metrics server answers from a single reading: it then takes the start of
	// the container for the first one, as metrics-server does.
	freshPod = 10 * time.Second
)

// Run lets time pass until the context ends.
func (w *World) Run(ctx context.Context) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	before := time.Now()
	nextReading := before
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-clock.C:
			w.mu.Lock()
			w.advance(now, now.Sub(before).Seconds())
			if !now.Before(nextReading) {
				w.read(now)
				for !now.Before(nextReading) {
					nextReading = nextReading.Add(w.settings.Resolution)
				}
			}
			w.mu.Unlock()
			before = now
		}
	}
}

// advance spreads the demand of the last `seconds` over ready pods. Called with the lock held.
func (w *World) advance(now time.Time, seconds float64) {
	byWorkload := map[Key][]*pod{}
	for _, p := range w.pods {
		byWorkload[p.workload] = append(byWorkload[p.workload], p)
		if p.running {
			p.cpuSeconds += w.settings.IdleCores * seconds
			p.memory = defaultMemory
		}
	}
	for key, demand := range w.demands {
		cores := demand.cores(now)
		requests, counted := demand.requests(now)
		memory, measured := demand.memory(now)
		moment := Moment{DemandCores: cores}
		var ready []*pod
		for _, p := range byWorkload[key] {
			switch p.object.Status.Phase {
			case corev1.PodSucceeded, corev1.PodFailed:
				continue
			}
			moment.Pods++
			if measured && p.running {
				p.memory = memory
			}
			p.counted = counted && p.running
			if p.ready {
				ready = append(ready, p)
			}
		}
		moment.ReadyPods = len(ready)
		if size := w.sizes[key]; size != nil && size.spec != nil {
			spec := *size.spec
			moment.Replicas = &spec
		}
		capacity := 0.0
		share := 1 / float64(max(len(ready), 1))
		for _, p := range ready {
			limit := demand.capacity(p.object)
			capacity += limit
			served := min(cores*share, limit)
			p.cpuSeconds += max(served-w.settings.IdleCores, 0) * seconds
			if counted && cores > 0 {
				// Of the requests that reach a pod, those are served for which it has CPU.
				p.requests += requests * share * served / (cores * share) * seconds
			} else if counted {
				p.requests += requests * share * seconds
			}
		}
		w.scores[key].add(seconds, cores, capacity, moment)
	}
}

// capacity in cores of one ready pod: as stated, else the limits of its containers, else their requests, else endless.
func (d *Demand) capacity(p *corev1.Pod) float64 {
	if d.CapacityCores > 0 {
		return d.CapacityCores
	}
	limits, requests, limited := 0.0, 0.0, true
	for _, container := range p.Spec.Containers {
		limit, found := container.Resources.Limits[corev1.ResourceCPU]
		limited = limited && found
		limits += limit.AsApproximateFloat64()
		requests += container.Resources.Requests.Cpu().AsApproximateFloat64()
	}
	switch {
	case limited:
		return limits
	case requests > 0:
		return requests
	default:
		return math.MaxFloat64
	}
}

// read is what the metrics server does once per resolution. Called with the lock held.
func (w *World) read(now time.Time) {
	if w.stale[""] {
		return
	}
	for key, p := range w.pods {
		if !p.running || w.stale[key.Namespace] {
			continue
		}
		p.previous = p.last
		p.last = &reading{now, p.counters}
	}
}

// Usage of one pod as a metrics server reports it.
type Usage struct {
	Pod      *corev1.Pod
	Workload Key
	At       time.Time
	Window   time.Duration
	Cores    float64
	Memory   float64
	// Requests per second; absent if the workload has no request metrics.
	Requests *float64
}

// Usages of pods in a namespace ("" is all of them) that a selector matches.
func (w *World) Usages(namespace string, selector labels.Selector) []Usage {
	w.mu.Lock()
	defer w.mu.Unlock()
	var usages []Usage
	for key, p := range w.pods {
		if namespace != "" && key.Namespace != namespace || !selector.Matches(labels.Set(p.object.Labels)) {
			continue
		}
		if usage, known := p.usage(); known {
			usages = append(usages, usage)
		}
	}
	return usages
}

func (p *pod) usage() (Usage, bool) {
	if !p.running || p.last == nil {
		return Usage{}, false
	}
	from := reading{}
	if p.previous != nil {
		from = *p.previous
	} else if start := p.object.Status.StartTime; start != nil && p.last.at.Sub(start.Time) >= freshPod {
		from.at = start.Time
	} else {
		return Usage{}, false
	}
	window := p.last.at.Sub(from.at)
	if window <= 0 {
		return Usage{}, false
	}
	usage := Usage{
		Pod: p.object, Workload: p.workload, At: p.last.at, Window: window,
		Cores:  (p.last.cpuSeconds - from.cpuSeconds) / window.Seconds(),
		Memory: p.last.memory,
	}
	if p.last.counted {
		rate := (p.last.requests - from.requests) / window.Seconds()
		usage.Requests = &rate
	}
	return usage, true
}

// OfferedRequests per second of a workload now, those that are lost included.
func (w *World) OfferedRequests(key Key) (float64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	demand, found := w.demands[key]
	if !found {
		return 0, false
	}
	return demand.requests(time.Now())
}

// Facts are everything at one instant, for exporters. Slices and maps are the caller's, objects must not be changed.
type Facts struct {
	Pods        []PodFacts
	Nodes       []*corev1.Node
	Sizes       []SizeFacts
	ReplicaSets map[Key]string // name of the Deployment
}

// PodFacts of one pod and its counters now.
type PodFacts struct {
	Pod              *corev1.Pod
	OwnerKind, Owner string
	UID              types.UID
	Running          bool
	CPUSeconds       float64
	MemoryBytes      float64
	Requests         *float64
}

// SizeFacts of one workload.
type SizeFacts struct {
	Key   Key
	Kind  string
	Spec  *int32
	Ready int32
}

// Facts now.
func (w *World) Facts() Facts {
	w.mu.Lock()
	defer w.mu.Unlock()
	facts := Facts{ReplicaSets: map[Key]string{}}
	for _, p := range w.pods {
		one := PodFacts{
			Pod: p.object, OwnerKind: p.owner.Kind, Owner: p.owner.Name, UID: p.object.UID, Running: p.running,
			CPUSeconds: p.cpuSeconds, MemoryBytes: p.memory,
		}
		if p.counted {
			requests := p.requests
			one.Requests = &requests
		}
		facts.Pods = append(facts.Pods, one)
	}
	for _, node := range w.nodes {
		facts.Nodes = append(facts.Nodes, node)
	}
	for key, one := range w.sizes {
		facts.Sizes = append(facts.Sizes, SizeFacts{key, one.kind, one.spec, one.ready})
	}
	for key, owner := range w.replicas {
		facts.ReplicaSets[key] = owner.Name
	}
	return facts
}
