package main

// `run`: the whole control plane in the foreground, until Ctrl-C.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"sphere.dev/controlplane/internal/control"
	"sphere.dev/controlplane/internal/load"
	"sphere.dev/controlplane/internal/metricsapi"
	"sphere.dev/controlplane/internal/supervise"
)

// settings are the flags of `run`.
type settings struct {
	data        string
	nodes       int
	controlPort int
	verbosity   int
	hpa         hpaSettings
	metrics     load.Settings
}

// hpaSettings are handed to the HPA controller; the defaults are Kubernetes' own.
type hpaSettings struct {
	sync, readinessDelay, cpuInitialization, downscale time.Duration
	tolerance                                          float64
}

func parseSettings(args []string) (settings, error) {
	s := settings{}
	flags := flag.NewFlagSet("controlplane run", flag.ContinueOnError)
	flags.StringVar(&s.data, "data", "target/controlplane", "folder for kubeconfig, data and logs; emptied at the start")
	flags.IntVar(&s.nodes, "nodes", 10, "KWOK nodes, 500 pods each")
	flags.IntVar(&s.controlPort, "control-port", 0, "port of the control API on 127.0.0.1 (0: any free one)")
	flags.IntVar(&s.verbosity, "v", 1, "verbosity of the components' logs")
	flags.DurationVar(&s.hpa.sync, "hpa-sync-period", 15*time.Second, "of the HPA controller")
	flags.DurationVar(&s.hpa.readinessDelay, "hpa-initial-readiness-delay", 30*time.Second, "of the HPA controller")
	flags.DurationVar(&s.hpa.cpuInitialization, "hpa-cpu-initialization-period", 5*time.Minute, "of the HPA controller")
	flags.DurationVar(&s.hpa.downscale, "hpa-downscale-stabilization", 5*time.Minute, "of the HPA controller")
	flags.Float64Var(&s.hpa.tolerance, "hpa-tolerance", 0.1, "of the HPA controller")
	flags.DurationVar(&s.metrics.Resolution, "metrics-resolution", 15*time.Second,
		"how often the metrics server reads its pods; usage is the mean over that long")
	flags.Float64Var(&s.metrics.IdleCores, "idle-cores", 0.001, "usage of a running pod without demand")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.nodes < 1 || s.metrics.Resolution < time.Second {
		return s, errors.New("at least one node, and a metrics resolution of at least 1s")
	}
	absolute, err := filepath.Abs(s.data)
	s.data = absolute
	return s, err
}

func runCommand(args []string) int {
	settings, err := parseSettings(args)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "controlplane:", err)
		}
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, settings); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, settings settings) error {
	started := time.Now()
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	unlock, err := claim(settings.data)
	if err != nil {
		return err
	}
	defer unlock()
	processes, err := supervise.New(binary, filepath.Join(settings.data, "logs"))
	if err != nil {
		return err
	}
	cluster, err := newCluster(binary, settings, processes)
	if err != nil {
		return err
	}
	// What is left afterwards: the logs.
	defer cluster.remove()
	defer cluster.stop()
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "controlplane: %5.1f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := cluster.start(ctx, say); err != nil {
		return err
	}

	world := load.New(settings.metrics)
	if err := world.Watch(ctx, cluster.clients); err != nil {
		return err
	}
	go world.Run(ctx)
	groups, err := metricsapi.Start(ctx, world, cluster.pki.Certificate("serving"), cluster.pki.Key("serving"))
	if err != nil {
		return err
	}
	if err := cluster.register(ctx, groups.Ports()); err != nil {
		return err
	}
	if err := cluster.awaitReady(ctx); err != nil {
		return err
	}
	say("nodes, service accounts and metrics APIs are ready")

	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", settings.controlPort))
	if err != nil {
		return err
	}
	address := "http://" + listener.Addr().String()
	server := &http.Server{
		Handler:           control.Handler(world, groups, cluster, processes),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	if err := os.WriteFile(filepath.Join(settings.data, "control"), []byte(address+"\n"), 0o644); err != nil {
		return err
	}
	if err := cluster.Kubeconfig("admin", filepath.Join(settings.data, "kubeconfig")); err != nil {
		return err
	}
	say("ready")
	fmt.Printf(`
  export KUBECONFIG=%s
  export SPHERE_TEST_KUBECONFIG=$KUBECONFIG SPHERE_TEST_HARNESS=%s
  %s kubectl get nodes
  curl -s $SPHERE_TEST_HARNESS/          # the control API: demand, scores, faults, restarts
  logs: %s

Ctrl-C stops everything.
`, filepath.Join(settings.data, "kubeconfig"), address, binary, filepath.Join(settings.data, "logs"))

	<-ctx.Done()
	say("stopping")
	return nil
}

// claim empties the data folder and makes sure that no second run uses it.
func claim(data string) (func(), error) {
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(data, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another run uses %s; stop it, or choose another folder with --data", data)
	}
	for _, name := range []string{"etcd", "pki", "logs", "kubeconfig", "control"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
			return nil, err
		}
	}
	return func() { lock.Close() }, nil
}
