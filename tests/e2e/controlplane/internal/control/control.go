// Package control answers: how do a test or a person tell this cluster what to suffer, and read what came of it?
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"sphere.dev/controlplane/internal/load"
	"sphere.dev/controlplane/internal/metricsapi"
	"sphere.dev/controlplane/internal/supervise"
)

// Cluster is what can be done to the control plane.
type Cluster interface {
	Kill(name string) error
	Start(ctx context.Context, name string) error
	Restart(ctx context.Context, name string, down time.Duration) error
	ExpireWatches(ctx context.Context, down time.Duration) (Expiry, error)
	Info() map[string]string
	ServiceAccountKubeconfig(ctx context.Context, namespace, name string) ([]byte, error)
}

// Expiry says what a watch from before got afterwards.
type Expiry struct {
	OldResourceVersion string `json:"old_resource_version"`
	Observed           string `json:"observed"`
}

// maxBody of a request: a curve of 10,000 points has about 200 kB.
const maxBody = 8 << 20

const help = `Control API

  PUT    /demand/{namespace}/{name}     demand of a workload, resets its score:
                                        {"cores": 3.5}  or  {"cores": [[0, 1], [60, 4]], "requests_per_second": …,
                                         "memory_bytes": …, "acceleration": 10, "at_end": "hold"|"repeat",
                                         "between": "step"|"linear", "capacity_cores": 0.5}
  DELETE /demand/{namespace}/{name}
  GET    /score/{namespace}/{name}      time over capacity, share lost, pod-seconds, scale-ups and -downs
  GET    /history/{namespace}/{name}    demand, replicas, pods, ready pods, second by second
  PUT    /external/{namespace}/{metric} an external metric: {"value": 12, "labels": {}}
  PUT    /faults/{group}                faults of metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io or
                                        prometheus, a list (or one): [{"kind": "down"|"unavailable"|"garbage"|
                                        "partial"|"slow"|"empty"|"stale", "namespace": "", "share": 0.5,
                                        "delay_seconds": 5, "body": "truncated"|"html"|"quantities"|"negative"}]
  GET    /faults      DELETE /faults
  GET    /components                    processes, memory, restarts, logs
  POST   /components/{name}/kill        SIGKILL; stays down until
  POST   /components/{name}/start
  POST   /components/{name}/restart     SIGKILL, {"down_seconds": 2}, start; returns when it is ready again
  POST   /expire-watches                makes resumed watches end with 410 Gone: {"down_seconds": 0}
  GET    /kubeconfig/{namespace}/{service account}   a kubeconfig with a fresh token
  GET    /info                          where the program is, which Kubernetes it runs
  GET    /requests                      requests to the metrics APIs so far
  GET    /metrics                       Prometheus: what cAdvisor, kube-state-metrics and the pods would export
`

// Handler of the control API.
func Handler(
	world *load.World, groups *metricsapi.Groups, cluster Cluster, processes *supervise.Supervisor,
) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, help) })
	mux.Handle("GET /metrics", groups.Exposition())
	loads(mux, world)
	mux.HandleFunc("PUT /faults/{group}", func(w http.ResponseWriter, r *http.Request) {
		faults, err := readFaults(r)
		if err == nil {
			err = groups.SetFaults(r.PathValue("group"), faults)
		}
		done(w, groups.Faults(), err)
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, r *http.Request) { done(w, groups.Faults(), nil) })
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		err := groups.ClearFaults()
		done(w, groups.Faults(), err)
	})
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, r *http.Request) { done(w, cluster.Info(), nil) })
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) { done(w, groups.Requests(), nil) })
	components(mux, cluster, processes)
	mux.HandleFunc("GET /kubeconfig/{namespace}/{account}", func(w http.ResponseWriter, r *http.Request) {
		text, err := cluster.ServiceAccountKubeconfig(r.Context(), r.PathValue("namespace"), r.PathValue("account"))
		if err != nil {
			done(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(text)
	})
	return mux
}

func loads(mux *http.ServeMux, world *load.World) {
	key := func(r *http.Request) load.Key {
		return load.Key{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	}
	mux.HandleFunc("PUT /demand/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		var demand load.Demand
		err := read(r, &demand)
		if err == nil {
			err = world.SetDemand(key(r), &demand)
		}
		done(w, demand, err)
	})
	mux.HandleFunc("DELETE /demand/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		world.DropDemand(key(r))
		done(w, struct{}{}, nil)
	})
	mux.HandleFunc("GET /score/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		score, found := world.Score(key(r))
		done(w, score, missing(found, key(r)))
	})
	mux.HandleFunc("GET /history/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		history, found := world.History(key(r))
		done(w, history, missing(found, key(r)))
	})
	mux.HandleFunc("PUT /external/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		var external load.External
		err := read(r, &external)
		if err == nil {
			err = world.SetExternal(key(r), &external)
		}
		done(w, external, err)
	})
}

func components(mux *http.ServeMux, cluster Cluster, processes *supervise.Supervisor) {
	mux.HandleFunc("GET /components", func(w http.ResponseWriter, r *http.Request) {
		states := processes.States()
		self := supervise.State{Name: "harness", Running: true, PID: os.Getpid(), RSSBytes: supervise.ResidentBytes(os.Getpid())}
		done(w, append(states, self), nil)
	})
	mux.HandleFunc("POST /components/{name}/kill", func(w http.ResponseWriter, r *http.Request) {
		err := cluster.Kill(r.PathValue("name"))
		done(w, processes.States(), err)
	})
	mux.HandleFunc("POST /components/{name}/start", func(w http.ResponseWriter, r *http.Request) {
		err := cluster.Start(r.Context(), r.PathValue("name"))
		done(w, processes.States(), err)
	})
	mux.HandleFunc("POST /components/{name}/restart", func(w http.ResponseWriter, r *http.Request) {
		down, err := downTime(r)
		if err == nil {
			// A client that goes away must not leave the component down.
			err = cluster.Restart(context.WithoutCancel(r.Context()), r.PathValue("name"), down)
		}
		done(w, processes.States(), err)
	})
	mux.HandleFunc("POST /expire-watches", func(w http.ResponseWriter, r *http.Request) {
		down, err := downTime(r)
		var expiry Expiry
		if err == nil {
			expiry, err = cluster.ExpireWatches(context.WithoutCancel(r.Context()), down)
		}
		done(w, expiry, err)
	})
}

var errNotFound = errors.New("not found")

func missing(found bool, key load.Key) error {
	if found {
		return nil
	}
	return fmt.Errorf("%w: no demand was set for %s/%s", errNotFound, key.Namespace, key.Name)
}

func downTime(r *http.Request) (time.Duration, error) {
	body := struct {
		DownSeconds float64 `json:"down_seconds"`
	}{}
	if err := read(r, &body); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if body.DownSeconds < 0 || body.DownSeconds > 600 {
		return 0, fmt.Errorf("down_seconds: %g is not in [0, 600]", body.DownSeconds)
	}
	return time.Duration(body.DownSeconds * float64(time.Second)), nil
}

func readFaults(r *http.Request) ([]metricsapi.Fault, error) {
	var raw json.RawMessage
	if err := read(r, &raw); err != nil {
		return nil, err
	}
	var many []metricsapi.Fault
	if json.Unmarshal(raw, &many) == nil {
		return many, nil
	}
	var one metricsapi.Fault
	if err := json.Unmarshal(raw, &one); err != nil {
		return nil, err
	}
	return []metricsapi.Fault{one}, nil
}

func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// done answers with the result or the error.
func done(w http.ResponseWriter, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case err == nil:
	case errors.Is(err, errNotFound), apierrors.IsNotFound(err):
		w.WriteHeader(http.StatusNotFound)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
	if err != nil {
		result = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(result)
}
