// Package metricsapi answers: what do the resource, custom and external metrics APIs say about the pods of this cluster,
// and what when they are broken?
//
// Each group has a listener of its own, so that one can refuse connections while the others answer. The aggregation
// layer of the API server leads requests here; it has authenticated and authorised them.
package metricsapi

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sphere.dev/controlplane/internal/load"
)

// Group names, as they appear in faults.
const (
	Resource = "metrics.k8s.io"
	Custom   = "custom.metrics.k8s.io"
	External = "external.metrics.k8s.io"
	// Prometheus is no API group, but breaks like one.
	Prometheus = "prometheus"
)

var versions = map[string]string{Resource: "v1beta1", Custom: "v1beta2", External: "v1beta1"}

// Fault is one way in which a metrics API fails.
type Fault struct {
	// Kind: down (connections refused), unavailable (503), garbage, partial, slow, empty, stale (no new readings).
	Kind string `json:"kind"`
	// Namespace concerned; without it all. Not for down.
	Namespace string `json:"namespace,omitempty"`
	// Share of pods that are missing when partial; half of them without it.
	Share float64 `json:"share,omitempty"`
	// DelaySeconds when slow; 5 without it.
	DelaySeconds float64 `json:"delay_seconds,omitempty"`
	// Body of garbage: truncated (without it), html, quantities (text that is no quantity), negative.
	Body string `json:"body,omitempty"`
}

// Check fills in what was left out and refuses what is not known.
func (f *Fault) Check() error {
	switch f.Kind {
	case "down":
		if f.Namespace != "" {
			return errors.New("a listener is down for all namespaces or for none")
		}
	case "unavailable", "garbage", "partial", "slow", "empty", "stale":
	default:
		return fmt.Errorf("kind: %q is none of down, unavailable, garbage, partial, slow, empty, stale", f.Kind)
	}
	if f.Share == 0 {
		f.Share = 0.5
	}
	if f.DelaySeconds == 0 {
		f.DelaySeconds = 5
	}
	if f.Body == "" {
		f.Body = "truncated"
	}
	switch f.Body {
	case "truncated", "html", "quantities", "negative":
	default:
		return fmt.Errorf("body: %q is none of truncated, html, quantities, negative", f.Body)
	}
	if f.Share < 0 || f.Share > 1 || f.DelaySeconds < 0 || f.DelaySeconds > 300 {
		return errors.New("share is in [0, 1], delay_seconds in [0, 300]")
	}
	return nil
}

// Groups serves all three APIs.
type Groups struct {
	world *load.World
	tls   *tls.Config

	mu      sync.Mutex
	servers map[string]*groupServer
	faults  map[string][]Fault
	// requests answered, by group
	requests map[string]int
}

type groupServer struct {
	port    int
	handler http.Handler
	server  *http.Server // nil while down
}

// Start serves all groups on free loopback ports until the context ends.
func Start(ctx context.Context, world *load.World, certificate, key string) (*Groups, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	g := &Groups{
		world: world, tls: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		servers: map[string]*groupServer{}, faults: map[string][]Fault{}, requests: map[string]int{},
	}
	for group, handler := range map[string]http.Handler{
		Resource: g.resource(), Custom: g.custom(), External: g.external(),
	} {
		one := &groupServer{handler: g.broken(group, handler)}
		g.servers[group] = one
		if err := g.up(one); err != nil {
			return nil, err
		}
	}
	go func() {
		<-ctx.Done()
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, one := range g.servers {
			down(one)
		}
	}()
	return g, nil
}

// Ports by group/version.
func (g *Groups) Ports() map[string]int {
	ports := map[string]int{}
	for group, one := range g.servers {
		ports[group+"/"+versions[group]] = one.port
	}
	return ports
}

func (g *Groups) up(one *groupServer) error {
	if one.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", one.port))
	if err != nil {
		return err
	}
	one.port = listener.Addr().(*net.TCPAddr).Port
	one.server = &http.Server{
		Handler:           one.handler,
		ReadHeaderTimeout: 10 * time.Second,
		// Handshakes that end early are no news.
		ErrorLog: log.New(discard{}, "", 0),
	}
	go func(server *http.Server) { _ = server.Serve(tls.NewListener(listener, g.tls)) }(one.server)
	return nil
}

func down(one *groupServer) {
	if one.server != nil {
		_ = one.server.Close()
		one.server = nil
	}
}

type discard struct{}

func (discard) Write(text []byte) (int, error) { return len(text), nil }

// SetFaults replaces the faults of one group.
func (g *Groups) SetFaults(group string, faults []Fault) error {
	for i := range faults {
		if err := faults[i].Check(); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	one, served := g.servers[group]
	if !served && group != Prometheus {
		return fmt.Errorf("no group %q; there are %s, %s, %s, %s", group, Resource, Custom, External, Prometheus)
	}
	g.faults[group] = faults
	// The metrics server is one: what it does not read, no group has.
	stale := map[string]bool{}
	for _, all := range g.faults {
		for _, fault := range all {
			if fault.Kind == "stale" {
				stale[fault.Namespace] = true
			}
		}
	}
	g.world.SetStale(stale)
	if !served {
		return nil
	}
	for _, fault := range faults {
		if fault.Kind == "down" {
			down(one)
			return nil
		}
	}
	return g.up(one)
}

// ClearFaults of all groups.
func (g *Groups) ClearFaults() error {
	var problems []error
	for group := range versions {
		problems = append(problems, g.SetFaults(group, nil))
	}
	problems = append(problems, g.SetFaults(Prometheus, nil))
	return errors.Join(problems...)
}

// Faults in force, by group.
func (g *Groups) Faults() map[string][]Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	faults := map[string][]Fault{}
	for group, all := range g.faults {
		if len(all) > 0 {
			faults[group] = append([]Fault{}, all...)
		}
	}
	return faults
}

// Requests that were answered so far, discovery included, by group.
func (g *Groups) Requests() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	requests := map[string]int{}
	for group, count := range g.requests {
		requests[group] = count
	}
	return requests
}

// fault in force for a group and namespace, if any; the most recently stated one that fits.
func (g *Groups) fault(group, namespace string) (Fault, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.faults[group]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Namespace == "" || all[i].Namespace == namespace {
			return all[i], true
		}
	}
	return Fault{}, false
}

// broken puts the faults that concern whole answers before a handler.
func (g *Groups) broken(group string, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.requests[group]++
		g.mu.Unlock()
		namespace := namespaceOf(r.URL.Path)
		fault, found := g.fault(group, namespace)
		data := strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 2 || group == Prometheus
		switch {
		case found && fault.Kind == "slow":
			select {
			case <-time.After(time.Duration(fault.DelaySeconds * float64(time.Second))):
			case <-r.Context().Done():
				return
			}
		case found && fault.Kind == "unavailable":
			http.Error(w, "the metrics server is being repaired", http.StatusServiceUnavailable)
			return
		case found && fault.Kind == "garbage" && data && (fault.Body == "truncated" || fault.Body == "html"):
			garbage(w, fault.Body)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// Broken puts the faults of the Prometheus endpoint before its handler.
func (g *Groups) Broken(handler http.Handler) http.Handler { return g.broken(Prometheus, handler) }

func garbage(w http.ResponseWriter, body string) {
	if body == "html" {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html><body>Please log in</body></html>")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[{"metadata":{"na`)
}

// left out of a partial answer?
func (f Fault) drops(name string) bool {
	hash := fnv.New32a()
	hash.Write([]byte(name))
	return float64(hash.Sum32()%1000) < f.Share*1000
}

// namespaceOf a path like /apis/GROUP/VERSION/namespaces/NAME/…
func namespaceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) > 4 && parts[3] == "namespaces" {
		return parts[4]
	}
	return ""
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

// discovery answers what the group has; everything else is not found.
func discovery(group string, mux *http.ServeMux, resources ...metav1.APIResource) {
	groupVersion := group + "/" + versions[group]
	mux.HandleFunc("GET /apis/"+groupVersion+"/{$}", func(w http.ResponseWriter, r *http.Request) { list(w, groupVersion, resources) })
	mux.HandleFunc("GET /apis/"+groupVersion, func(w http.ResponseWriter, r *http.Request) { list(w, groupVersion, resources) })
	mux.HandleFunc("GET /apis/"+group, func(w http.ResponseWriter, r *http.Request) {
		version := metav1.GroupVersionForDiscovery{GroupVersion: groupVersion, Version: versions[group]}
		answer(w, metav1.APIGroup{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"},
			Name:     group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
		})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "nothing at %s", r.URL.Path)
	})
}

func list(w http.ResponseWriter, groupVersion string, resources []metav1.APIResource) {
	answer(w, metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: groupVersion, APIResources: resources,
	})
}
