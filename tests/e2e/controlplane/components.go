package main

// Which code runs as which process? Every component here is the upstream program, not a stand-in.

import (
	"os"
	_ "time/tzdata" // time zones of CronJobs, as upstream's main packages import it

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func components() map[string]command {
	return map[string]command{
		"etcd": {"the store of the API server", func([]string) int {
			etcdmain.Main(os.Args)
			return 0
		}},
		"kube-apiserver":          {"the API server", func([]string) int { return cli.Run(apiserver.NewAPIServerCommand()) }},
		"kube-controller-manager": {"the controllers, the HPA's among them", func([]string) int { return cli.Run(controllermanager.NewControllerManagerCommand()) }},
		"kube-scheduler":          {"the scheduler", func([]string) int { return cli.Run(scheduler.NewSchedulerCommand()) }},
		"kwok":                    {"KWOK: nodes and the life of pods", kwokCommand},
		"kubectl": {"kubectl, for machines without one", func([]string) int {
			if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
				kubectlutil.CheckErr(err)
			}
			return 0
		}},
	}
}
