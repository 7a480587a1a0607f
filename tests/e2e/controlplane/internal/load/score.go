package load

import "time"

// Score says how well a workload was sized since its demand was set.
type Score struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Since     time.Time `json:"since"`
	Seconds   float64   `json:"seconds"`
	// OverSeconds in which demand was above ready capacity, instant by instant.
	OverSeconds float64 `json:"over_seconds"`
	// OverBinSeconds is the same judged per interval of 10 s by means, as the simulator judges it.
	OverBinSeconds    float64 `json:"over_bin_seconds"`
	DemandCoreSeconds float64 `json:"demand_core_seconds"`
	LostCoreSeconds   float64 `json:"lost_core_seconds"`
	// LostShare of demand, 0 to 1; absent while there was no demand.
	LostShare *float64 `json:"lost_share"`
	// PodSeconds of all pods that exist, starting and stopping ones too: what is paid for.
	PodSeconds      float64 `json:"pod_seconds"`
	ReadyPodSeconds float64 `json:"ready_pod_seconds"`
	ScaleUps        int     `json:"scale_ups"`
	ScaleDowns      int     `json:"scale_downs"`
	MaxPods         int     `json:"max_pods"`
	Now             Moment  `json:"now"`
}

// Moment is one line of a workload's history.
type Moment struct {
	// Seconds since the demand was set.
	Seconds     float64 `json:"seconds"`
	DemandCores float64 `json:"demand_cores"`
	// Replicas that the workload's spec asks for; absent if it was not seen.
	Replicas  *int32 `json:"replicas"`
	Pods      int    `json:"pods"`
	ReadyPods int    `json:"ready_pods"`
}

const (
	// binSeconds is the simulator's scrape interval.
	binSeconds = 10
	// maxHistory lines, one per second: two hours; then every second one is dropped.
	maxHistory = 7200
)

type scorecard struct {
	Score
	history []Moment
	// every so many seconds a line is kept
	stride                float64
	nextLine              float64
	binDemand, binCapable float64
	binLength             float64
}

func newScorecard(key Key, now time.Time) *scorecard {
	return &scorecard{Score: Score{Namespace: key.Namespace, Name: key.Name, Since: now}, stride: 1}
}

// add accounts for `seconds` in which nothing changed.
func (s *scorecard) add(seconds, demand, capacity float64, moment Moment) {
	s.Seconds += seconds
	s.DemandCoreSeconds += demand * seconds
	s.PodSeconds += float64(moment.Pods) * seconds
	s.ReadyPodSeconds += float64(moment.ReadyPods) * seconds
	s.MaxPods = max(s.MaxPods, moment.Pods)
	if demand > capacity {
		s.OverSeconds += seconds
		s.LostCoreSeconds += (demand - capacity) * seconds
	}
	s.binDemand += demand * seconds
	s.binCapable += capacity * seconds
	s.binLength += seconds
	if s.binLength >= binSeconds {
		if s.binDemand > s.binCapable {
			s.OverBinSeconds += s.binLength
		}
		s.binDemand, s.binCapable, s.binLength = 0, 0, 0
	}
	if s.DemandCoreSeconds > 0 {
		share := s.LostCoreSeconds / s.DemandCoreSeconds
		s.LostShare = &share
	}
	moment.Seconds = s.Seconds
	s.Now = moment
	if s.Seconds >= s.nextLine {
		s.history = append(s.history, moment)
		s.nextLine += s.stride
		if len(s.history) >= maxHistory {
			for i := range len(s.history) / 2 {
				s.history[i] = s.history[2*i]
			}
			s.history = s.history[:len(s.history)/2]
			s.stride *= 2
		}
	}
}

// resized counts a change of the spec's replicas.
func (s *scorecard) resized(from, to int32) {
	switch {
	case to > from:
		s.ScaleUps++
	case to < from:
		s.ScaleDowns++
	}
}
