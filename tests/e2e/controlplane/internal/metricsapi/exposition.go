package metricsapi

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"

	"sphere.dev/controlplane/internal/load"
)

// Exposition serves, in Prometheus' text format, the series that cAdvisor and kube-state-metrics would have of this
// cluster (those that SPHERE asks for), and a request counter per pod as an application would export it.
func (g *Groups) Exposition() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(exporter{g})
	return g.Broken(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}

type exporter struct{ groups *Groups }

// Describe nothing: the series depend on the pods there are.
func (exporter) Describe(chan<- *prometheus.Desc) {}

// family makes series of one name.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) family {
	return family{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

func (f family) send(to chan<- prometheus.Metric, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

var (
	cpuSeconds = counter("container_cpu_usage_seconds_total", "CPU time used, as cAdvisor counts it.",
		"namespace", "pod", "container", "node")
	memoryBytes = gauge("container_memory_working_set_bytes", "Memory in use, as cAdvisor measures it.",
		"namespace", "pod", "container", "node")
	requestsTotal = counter("http_requests_total", "Requests served by the pod.", "namespace", "pod")

	podPhase     = gauge("kube_pod_status_phase", "Phase of the pod.", "namespace", "pod", "uid", "phase")
	podReady     = gauge("kube_pod_status_ready", "Is the pod ready?", "namespace", "pod", "uid", "condition")
	podReadyTime = gauge("kube_pod_status_ready_time", "When readiness changed last.", "namespace", "pod", "uid")
	podStart     = gauge("kube_pod_start_time", "When the pod was started.", "namespace", "pod", "uid")
	podDeletion  = gauge("kube_pod_deletion_timestamp", "When the pod is to be gone.", "namespace", "pod", "uid")
	podCreated   = gauge("kube_pod_created", "When the pod was created.", "namespace", "pod", "uid")
	podOwner     = gauge("kube_pod_owner", "Owner of the pod.",
		"namespace", "pod", "uid", "owner_kind", "owner_name", "owner_is_controller")
	podInfo       = gauge("kube_pod_info", "Where the pod runs.", "namespace", "pod", "uid", "node", "host_ip", "pod_ip")
	containerInfo = gauge("kube_pod_container_info", "Containers of the pod.", "namespace", "pod", "uid", "container", "image")
	requested     = gauge("kube_pod_container_resource_requests", "Resources requested.",
		"namespace", "pod", "uid", "container", "node", "resource", "unit")
	limited = gauge("kube_pod_container_resource_limits", "Limits of resources.",
		"namespace", "pod", "uid", "container", "node", "resource", "unit")
	replicaSetOwner = gauge("kube_replicaset_owner", "Owner of the ReplicaSet.",
		"namespace", "replicaset", "owner_kind", "owner_name", "owner_is_controller")
	allocatable = gauge("kube_node_status_allocatable", "What pods may use of a node.", "node", "resource", "unit")

	sizes = map[string][2]family{
		"Deployment": {
			gauge("kube_deployment_spec_replicas", "Replicas wanted.", "namespace", "deployment"),
			gauge("kube_deployment_status_replicas_ready", "Replicas ready.", "namespace", "deployment"),
		},
		"StatefulSet": {
			gauge("kube_statefulset_replicas", "Replicas wanted.", "namespace", "statefulset"),
			gauge("kube_statefulset_status_replicas_ready", "Replicas ready.", "namespace", "statefulset"),
		},
		"ReplicaSet": {
			gauge("kube_replicaset_spec_replicas", "Replicas wanted.", "namespace", "replicaset"),
			gauge("kube_replicaset_status_ready_replicas", "Replicas ready.", "namespace", "replicaset"),
		},
	}
)

// Collect everything at one instant.
func (e exporter) Collect(to chan<- prometheus.Metric) {
	facts := e.groups.world.Facts()
	for _, pod := range facts.Pods {
		fault, found := e.groups.fault(Prometheus, pod.Pod.Namespace)
		if found && (fault.Kind == "empty" || fault.Kind == "partial" && fault.drops(pod.Pod.Name)) {
			continue
		}
		collectPod(to, pod)
	}
	for key, owner := range facts.ReplicaSets {
		replicaSetOwner.send(to, 1, key.Namespace, key.Name, "Deployment", owner, "true")
	}
	for _, node := range facts.Nodes {
		allocatable.send(to, node.Status.Allocatable.Cpu().AsApproximateFloat64(), node.Name, "cpu", "core")
		allocatable.send(to, node.Status.Allocatable.Memory().AsApproximateFloat64(), node.Name, "memory", "byte")
	}
	for _, size := range facts.Sizes {
		families, known := sizes[size.Kind]
		if !known {
			continue
		}
		if size.Spec != nil {
			families[0].send(to, float64(*size.Spec), size.Key.Namespace, size.Key.Name)
		}
		families[1].send(to, float64(size.Ready), size.Key.Namespace, size.Key.Name)
	}
}

func collectPod(to chan<- prometheus.Metric, facts load.PodFacts) {
	pod := facts.Pod
	namespace, name, uid, node := pod.Namespace, pod.Name, string(pod.UID), pod.Spec.NodeName
	for _, phase := range []corev1.PodPhase{
		corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown,
	} {
		podPhase.send(to, truth(pod.Status.Phase == phase), namespace, name, uid, string(phase))
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			podReady.send(to, truth(condition.Status == corev1.ConditionTrue), namespace, name, uid, "true")
			podReady.send(to, truth(condition.Status == corev1.ConditionFalse), namespace, name, uid, "false")
			podReady.send(to, truth(condition.Status == corev1.ConditionUnknown), namespace, name, uid, "unknown")
			if condition.Status == corev1.ConditionTrue {
				podReadyTime.send(to, float64(condition.LastTransitionTime.Unix()), namespace, name, uid)
			}
		}
	}
	podCreated.send(to, float64(pod.CreationTimestamp.Unix()), namespace, name, uid)
	if start := pod.Status.StartTime; start != nil {
		podStart.send(to, float64(start.Unix()), namespace, name, uid)
	}
	if deletion := pod.DeletionTimestamp; deletion != nil {
		podDeletion.send(to, float64(deletion.Unix()), namespace, name, uid)
	}
	if facts.Owner != "" {
		podOwner.send(to, 1, namespace, name, uid, facts.OwnerKind, facts.Owner, "true")
	}
	podInfo.send(to, 1, namespace, name, uid, node, pod.Status.HostIP, pod.Status.PodIP)
	for i, container := range pod.Spec.Containers {
		containerInfo.send(to, 1, namespace, name, uid, container.Name, container.Image)
		resources(to, requested, container.Resources.Requests, namespace, name, uid, container.Name, node)
		resources(to, limited, container.Resources.Limits, namespace, name, uid, container.Name, node)
		if !facts.Running {
			continue
		}
		// As in the metrics APIs, the first container does the work.
		seconds, memory := facts.CPUSeconds, facts.MemoryBytes
		if i > 0 {
			seconds, memory = 0, 1<<20
		}
		cpuSeconds.send(to, seconds, namespace, name, container.Name, node)
		memoryBytes.send(to, memory, namespace, name, container.Name, node)
	}
	if facts.Requests != nil && facts.Running {
		requestsTotal.send(to, *facts.Requests, namespace, name)
	}
}

func resources(to chan<- prometheus.Metric, of family, list corev1.ResourceList, labels ...string) {
	if cpu, found := list[corev1.ResourceCPU]; found {
		of.send(to, cpu.AsApproximateFloat64(), append(append([]string{}, labels...), "cpu", "core")...)
	}
	if memory, found := list[corev1.ResourceMemory]; found {
		of.send(to, memory.AsApproximateFloat64(), append(append([]string{}, labels...), "memory", "byte")...)
	}
}

func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
