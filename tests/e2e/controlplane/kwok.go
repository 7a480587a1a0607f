package main

// Who plays the kubelets? The controllers of KWOK, as a library, with stages of our own: how long a pod takes from its
// node to Ready is said by its annotations.

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/client"
	"sigs.k8s.io/yaml"
)

//go:embed stages/*.yaml
var stageFiles embed.FS

type stages = map[internalversion.StageResourceRef][]*internalversion.Stage

func kwokCommand(args []string) int {
	flags := flag.NewFlagSet("kwok", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of an administrator")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// At level info KWOK writes a line per pod and change.
	ctx = log.NewContext(ctx, log.NewLogger(os.Stderr, log.LevelWarn))
	if err := playKubelets(ctx, *kubeconfig); err != nil {
		fmt.Fprintln(os.Stderr, "kwok:", err)
		return 1
	}
	return 0
}

func playKubelets(ctx context.Context, kubeconfig string) error {
	clients, err := client.NewClientset("", kubeconfig)
	if err != nil {
		return err
	}
	config, err := clients.ToRESTConfig()
	if err != nil {
		return err
	}
	dynamic, err := clients.ToDynamicClient()
	if err != nil {
		return err
	}
	mapper, err := clients.ToRESTMapper()
	if err != nil {
		return err
	}
	restClient, err := rest.RESTClientFor(config)
	if err != nil {
		return err
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	local, err := localStages()
	if err != nil {
		return err
	}
	identity, err := controllers.Identity()
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(controllers.Config{
		Clock:                      clock.RealClock{},
		DynamicClient:              dynamic,
		RESTClient:                 restClient,
		RESTMapper:                 mapper,
		ImpersonatingDynamicClient: clients.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:   clients.ToImpersonatingTypedClient(),
		TypedClient:                typed,
		ManageAllNodes:             true,
		CIDR:                       "10.0.0.1/24",
		NodeIP:                     "10.0.0.1",
		LocalStages:                local,
		// KWOK's own default of 4 makes a burst of hundreds of pods late by seconds on a busy machine.
		PodPlayStageParallelism:   16,
		NodePlayStageParallelism:  4,
		NodeLeaseDurationSeconds:  40,
		NodeLeaseParallelism:      4,
		PodsOnNodeSyncParallelism: 4,
		ID:                        identity,
	})
	if err != nil {
		return err
	}
	if err := controller.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// localStages reads the stages embedded in the program.
func localStages() (stages, error) {
	names, err := fs.Glob(stageFiles, "stages/*.yaml")
	if err != nil {
		return nil, err
	}
	local := stages{}
	for _, name := range names {
		text, err := stageFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var stage v1alpha1.Stage
		if err := yaml.UnmarshalStrict(text, &stage); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		v1alpha1.SetObjectDefaults_Stage(&stage)
		internal, err := internalversion.ConvertToInternalStage(&stage)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		local[internal.Spec.ResourceRef] = append(local[internal.Spec.ResourceRef], internal)
	}
	return local, nil
}
