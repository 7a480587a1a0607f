package main

// In which order do the components start, with which flags, and when is the control plane ready?

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"sphere.dev/controlplane/internal/pki"
	"sphere.dev/controlplane/internal/supervise"
)

// startTimeout bounds every wait of the start; a machine shared with a compiler needs some of it.
const startTimeout = 3 * time.Minute

// clusterComponents are the processes next to etcd and the API server.
var clusterComponents = []string{"kube-controller-manager", "kube-scheduler", "kwok"}

type cluster struct {
	settings  settings
	binary    string
	pki       *pki.Folder
	processes *supervise.Supervisor
	etcd      string // client URL
	server    string // URL of the API server
	clients   kubernetes.Interface
	services  aggregator.Interface
	// surgery: one disruption at a time
	surgery sync.Mutex
}

func newCluster(binary string, settings settings, processes *supervise.Supervisor) (*cluster, error) {
	folder, err := pki.New(filepath.Join(settings.data, "pki"))
	if err != nil {
		return nil, err
	}
	return &cluster{settings: settings, binary: binary, pki: folder, processes: processes}, nil
}

func (c *cluster) start(ctx context.Context, say func(string, ...any)) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	c.etcd = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	c.server = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	if err := c.processes.Start("etcd", c.etcdFlags(ports[1])...); err != nil {
		return err
	}
	if err := c.processes.Start("kube-apiserver", c.apiserverFlags(ports[2])...); err != nil {
		return err
	}
	for _, name := range append([]string{"harness"}, clusterComponents...) {
		if err := c.Kubeconfig(name, c.pki.Certificate(name)+".kubeconfig"); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.pki.Certificate("harness")+".kubeconfig")
	if err != nil {
		return err
	}
	// The harness must see what happens at once, and its requests are few.
	config.QPS, config.Burst = 500, 1000
	if c.clients, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if c.services, err = aggregator.NewForConfig(config); err != nil {
		return err
	}
	if err := c.AwaitAPI(ctx); err != nil {
		return err
	}
	say("the API server answers")
	if err := c.createNodes(ctx); err != nil {
		return err
	}
	for _, name := range clusterComponents {
		if err := c.processes.Start(name, c.flags(name)...); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) etcdFlags(peerPort int) []string {
	peer := fmt.Sprintf("http://127.0.0.1:%d", peerPort)
	return []string{
		"--data-dir=" + filepath.Join(c.settings.data, "etcd"),
		"--listen-client-urls=" + c.etcd, "--advertise-client-urls=" + c.etcd,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		// The data need not survive the machine, only processes; without this each write waits for the disk.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func (c *cluster) apiserverFlags(port int) []string {
	return []string{
		"--etcd-servers=" + c.etcd,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		// Endpoints may not name loopback addresses, and no pod here looks for the API server.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=" + c.pki.Certificate("serving"), "--tls-private-key-file=" + c.pki.Key("serving"),
		"--client-ca-file=" + c.pki.Certificate("ca"),
		"--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.Key("service-account"),
		"--service-account-signing-key-file=" + c.pki.Key("service-account"),
		"--requestheader-client-ca-file=" + c.pki.Certificate("front-proxy-ca"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.pki.Certificate("front-proxy-client"),
		"--proxy-client-key-file=" + c.pki.Key("front-proxy-client"),
		// A restarted API server must let go of its port quickly.
		"--shutdown-delay-duration=0s",
		fmt.Sprintf("--v=%d", c.settings.verbosity),
	}
}

func (c *cluster) flags(name string) []string {
	kubeconfig := "--kubeconfig=" + c.pki.Certificate(name) + ".kubeconfig"
	verbosity := fmt.Sprintf("--v=%d", c.settings.verbosity)
	hpa := c.settings.hpa
	switch name {
	case "kube-controller-manager":
		return []string{
			kubeconfig, verbosity,
			"--leader-elect=false", "--secure-port=0",
			"--use-service-account-credentials=true",
			"--service-account-private-key-file=" + c.pki.Key("service-account"),
			"--root-ca-file=" + c.pki.Certificate("ca"),
			// Upstream's 20 requests/s would make a burst of a thousand pods last a minute.
			"--kube-api-qps=300", "--kube-api-burst=600",
			fmt.Sprintf("--horizontal-pod-autoscaler-sync-period=%s", hpa.sync),
			fmt.Sprintf("--horizontal-pod-autoscaler-initial-readiness-delay=%s", hpa.readinessDelay),
			fmt.Sprintf("--horizontal-pod-autoscaler-cpu-initialization-period=%s", hpa.cpuInitialization),
			fmt.Sprintf("--horizontal-pod-autoscaler-downscale-stabilization=%s", hpa.downscale),
			fmt.Sprintf("--horizontal-pod-autoscaler-tolerance=%g", hpa.tolerance),
		}
	case "kube-scheduler":
		return []string{kubeconfig, verbosity, "--leader-elect=false", "--secure-port=0",
			"--kube-api-qps=300", "--kube-api-burst=600"}
	default:
		return []string{kubeconfig}
	}
}

func (c *cluster) createNodes(ctx context.Context) error {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("1k"),
		corev1.ResourceMemory: resource.MustParse("4Ti"),
		corev1.ResourcePods:   resource.MustParse("500"),
	}
	for i := range c.settings.nodes {
		name := fmt.Sprintf("node-%d", i)
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", "type": "kwok",
			}},
			Status: corev1.NodeStatus{
				Capacity:    capacity,
				Allocatable: capacity,
				Addresses: []corev1.NodeAddress{
					{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: name},
				},
				NodeInfo: corev1.NodeSystemInfo{Architecture: "amd64", OperatingSystem: "linux", KubeletVersion: "kwok"},
			},
		}
		_, err := c.clients.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

// serviceNamespace holds the Services that lead the aggregation layer to the harness.
const serviceNamespace = "kube-system"

// register announces the metrics APIs: an APIService names a Service, whose external name is this machine.
func (c *cluster) register(ctx context.Context, ports map[string]int) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-harness", Namespace: serviceNamespace},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}
	_, err := c.clients.CoreV1().Services(serviceNamespace).Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("service of the metrics APIs: %w", err)
	}
	for groupVersion, port := range ports {
		var group, version string
		if group, version, err = splitGroupVersion(groupVersion); err != nil {
			return err
		}
		servicePort := int32(port)
		api := &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: version + "." + group},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: group, Version: version,
				GroupPriorityMinimum: 100, VersionPriority: 100,
				InsecureSkipTLSVerify: true,
				Service: &apiregistrationv1.ServiceReference{
					Namespace: serviceNamespace, Name: service.Name, Port: &servicePort,
				},
			},
		}
		_, err := c.services.ApiregistrationV1().APIServices().Create(ctx, api, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("APIService %s: %w", api.Name, err)
		}
	}
	return nil
}

// awaitReady returns when nodes, namespaces and metrics APIs can be used.
func (c *cluster) awaitReady(ctx context.Context) error {
	return await(ctx, startTimeout, "the control plane", func() error {
		nodes, err := c.clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, node := range nodes.Items {
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready < c.settings.nodes {
			return fmt.Errorf("%d of %d nodes are ready", ready, c.settings.nodes)
		}
		accounts := c.clients.CoreV1().ServiceAccounts(metav1.NamespaceDefault)
		if _, err := accounts.Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		services, err := c.services.ApiregistrationV1().APIServices().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, service := range services.Items {
			available := false
			for _, condition := range service.Status.Conditions {
				available = available || condition.Type == apiregistrationv1.Available &&
					condition.Status == apiregistrationv1.ConditionTrue
			}
			if !available {
				return fmt.Errorf("APIService %s is not available", service.Name)
			}
		}
		return nil
	})
}

// AwaitAPI returns when the API server says that it is ready.
func (c *cluster) AwaitAPI(ctx context.Context) error {
	return await(ctx, startTimeout, "the API server", func() error {
		answer := c.clients.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).Do(ctx)
		return answer.Error()
	})
}

// Kubeconfig writes a kubeconfig for one of the client certificates.
func (c *cluster) Kubeconfig(name, path string) error { return c.pki.Kubeconfig(name, c.server, path) }

// ServiceAccountKubeconfig is a kubeconfig with a fresh token of a service account that exists.
func (c *cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) ([]byte, error) {
	day := int64((24 * time.Hour).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	accounts := c.clients.CoreV1().ServiceAccounts(namespace)
	answer, err := accounts.CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return c.pki.TokenKubeconfig(c.server, namespace, answer.Status.Token)
}

// Info for who attaches to a running control plane.
func (c *cluster) Info() map[string]string {
	info := map[string]string{
		"program": c.binary, "server": c.server, "kubeconfig": filepath.Join(c.settings.data, "kubeconfig"),
		"logs": filepath.Join(c.settings.data, "logs"), "hpa_sync_period": c.settings.hpa.sync.String(),
		"metrics_resolution": c.settings.metrics.Resolution.String(),
	}
	if version, err := c.clients.Discovery().ServerVersion(); err == nil {
		info["kubernetes"] = version.GitVersion
	}
	return info
}

func (c *cluster) stop() {
	// Clients first: the API server waits for their watches to end otherwise.
	for _, name := range clusterComponents {
		_ = c.processes.Stop(name, 0)
	}
	_ = c.processes.Stop("kube-apiserver", 2*time.Second)
	_ = c.processes.Stop("etcd", 2*time.Second)
}

// remove deletes what was needed only while running.
func (c *cluster) remove() {
	for _, name := range []string{"etcd", "pki", "kubeconfig", "control", "lock"} {
		_ = os.RemoveAll(filepath.Join(c.settings.data, name))
	}
}

func splitGroupVersion(text string) (string, string, error) {
	for i := range text {
		if text[i] == '/' {
			return text[:i], text[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("no group/version: %q", text)
}

// freePorts finds TCP ports that nobody uses now. Another process may take one before we do; the component then fails,
// says so in its log, and the start times out.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// await tries until there is no error, the time is over or the context ends.
func await(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		if last = try(); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", what, errors.Join(last, ctx.Err()))
		case <-time.After(250 * time.Millisecond):
		}
	}
}
