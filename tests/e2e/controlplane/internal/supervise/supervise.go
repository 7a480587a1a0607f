// Package supervise answers: which component processes run, and how are they stopped, killed and started again?
package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Supervisor starts components as processes of its own binary. A component that ends without having been asked to is
// started again after a pause, as a kubelet does with static pods.
type Supervisor struct {
	binary string
	logs   string
	// One thread starts all processes: they are told to die with the thread that started them.
	spawn chan func()

	mu    sync.Mutex
	parts map[string]*part
}

type part struct {
	args    []string
	wanted  bool
	process *os.Process
	// ended is closed when the current process has ended.
	ended    chan struct{}
	restarts int
}

// State of one component, for people and tests.
type State struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"`
	RSSBytes int64  `json:"rss_bytes,omitempty"`
	Log      string `json:"log"`
}

const (
	firstPause = 500 * time.Millisecond
	lastPause  = 8 * time.Second
)

// New makes a supervisor that executes `binary` and writes logs into the folder `logs`.
func New(binary, logs string) (*Supervisor, error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	s := &Supervisor{binary: binary, logs: logs, spawn: make(chan func()), parts: map[string]*part{}}
	go func() {
		// Pdeathsig follows the thread, not the process, so this thread must live as long as we do.
		runtime.LockOSThread()
		for start := range s.spawn {
			start()
		}
	}()
	return s, nil
}

// Start starts the component `name` with these arguments, or again with the arguments it had if there are none.
func (s *Supervisor) Start(name string, args ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.parts[name]
	if !known {
		one = &part{}
		s.parts[name] = one
	}
	if one.process != nil {
		return fmt.Errorf("%s runs already", name)
	}
	if len(args) > 0 {
		one.args = args
	}
	one.wanted = true
	return s.launch(name, one)
}

// launch is called with the lock held.
func (s *Supervisor) launch(name string, one *part) error {
	log, err := os.OpenFile(s.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	process := exec.Command(s.binary, append([]string{name}, one.args...)...)
	process.Stdout, process.Stderr = log, log
	// A group of its own: Ctrl-C reaches us alone, and we stop them in order. And none outlives us, however we end.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	failed := make(chan error, 1)
	s.spawn <- func() { failed <- process.Start() }
	if err := <-failed; err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	one.process = process.Process
	one.ended = make(chan struct{})
	go s.watch(name, one, process, one.ended)
	return nil
}

func (s *Supervisor) watch(name string, one *part, process *exec.Cmd, ended chan struct{}) {
	started := time.Now()
	err := process.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	one.process = nil
	close(ended)
	if !one.wanted {
		return
	}
	one.restarts++
	pause := firstPause << min(one.restarts-1, 4)
	if time.Since(started) > time.Minute {
		pause = firstPause
	}
	fmt.Fprintf(os.Stderr, "controlplane: %s ended by itself (%v); log: %s\n", name, err, s.log(name))
	time.AfterFunc(min(pause, lastPause), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if one.wanted && one.process == nil {
			if err := s.launch(name, one); err != nil {
				fmt.Fprintln(os.Stderr, "controlplane:", err)
			}
		}
	})
}

// Stop asks the component to end, kills it after `grace`, and returns when it has ended. It stays down.
// Without grace it is killed at once.
func (s *Supervisor) Stop(name string, grace time.Duration) error {
	s.mu.Lock()
	one, known := s.parts[name]
	if !known {
		s.mu.Unlock()
		return fmt.Errorf("no component %q; there are %s", name, strings.Join(s.names(), ", "))
	}
	one.wanted = false
	process, ended := one.process, one.ended
	s.mu.Unlock()
	if process == nil {
		return nil
	}
	if grace > 0 {
		// Errors say that it has ended already.
		_ = process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
			return nil
		case <-time.After(grace):
		}
	}
	_ = process.Kill()
	<-ended
	return nil
}

// States of all components, by name.
func (s *Supervisor) States() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []State
	for _, name := range s.names() {
		one := s.parts[name]
		state := State{Name: name, Restarts: one.restarts, Log: s.log(name)}
		if one.process != nil {
			state.Running, state.PID = true, one.process.Pid
			state.RSSBytes = ResidentBytes(one.process.Pid)
		}
		states = append(states, state)
	}
	return states
}

func (s *Supervisor) names() []string {
	names := make([]string, 0, len(s.parts))
	for name := range s.parts {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (s *Supervisor) log(name string) string { return filepath.Join(s.logs, name+".log") }

// ResidentBytes is the resident memory of a process, 0 if it can not be read.
func ResidentBytes(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
