// Command controlplane answers: does SPHERE do on a real Kubernetes API what it claims?
//
// It is a whole control plane in one program: etcd, kube-apiserver, kube-controller-manager (with the real
// HorizontalPodAutoscaler controller), kube-scheduler and KWOK, each the project's own code, plus a harness that loads
// workloads, serves their metrics, injects faults and keeps score. `controlplane run` starts each component as a process
// of its own by executing this same binary with another first argument, so that any of them can be killed and started
// again while the others go on.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
)

// command runs with the arguments after its name and returns the exit code.
type command struct {
	help string
	run  func(args []string) int
}

func commands() map[string]command {
	all := map[string]command{
		"run": {"start everything in the foreground; --help lists the flags", runCommand},
	}
	for name, component := range components() {
		all[name] = component
	}
	return all
}

func main() {
	all := commands()
	if len(os.Args) > 1 {
		if found, ok := all[os.Args[1]]; ok {
			args := os.Args[2:]
			// The components parse os.Args by themselves and name themselves after os.Args[0].
			os.Args = append([]string{os.Args[1]}, args...)
			os.Exit(found.run(args))
		}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	var usage strings.Builder
	usage.WriteString("usage: controlplane COMMAND [flags]\n\n")
	for _, name := range names {
		fmt.Fprintf(&usage, "  %-24s %s\n", name, all[name].help)
	}
	fmt.Fprint(os.Stderr, usage.String())
	os.Exit(2)
}
