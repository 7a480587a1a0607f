package load

import (
	"errors"
	"fmt"
	"time"
)

// Demand is what users ask of one workload.
type Demand struct {
	// Cores of CPU that the whole workload would use if it had enough pods.
	Cores *Curve `json:"cores"`
	// RequestsPerSecond of the whole workload; without it the workload has no request metrics.
	RequestsPerSecond *Curve `json:"requests_per_second,omitempty"`
	// MemoryBytes of one pod; a constant 64 MiB without it.
	MemoryBytes *Curve `json:"memory_bytes,omitempty"`
	// Acceleration is how many seconds of the curves pass in one real second; 1 without it.
	Acceleration float64 `json:"acceleration,omitempty"`
	// AtEnd of the curves: "hold" the last value (without it) or "repeat" from the start.
	AtEnd string `json:"at_end,omitempty"`
	// Between points: "step" keeps the value of the last point (without it), "linear" goes straight to the next.
	Between string `json:"between,omitempty"`
	// CapacityCores of one ready pod; its CPU limit without it, then its request.
	CapacityCores float64 `json:"capacity_cores,omitempty"`

	started time.Time
}

// Check fills in what was left out and refuses what makes no sense.
func (d *Demand) Check() error {
	var problems []error
	if d.Cores == nil {
		problems = append(problems, errors.New("cores: missing; a number or a list of [seconds, value]"))
	}
	if d.Acceleration == 0 {
		d.Acceleration = 1
	}
	if !(d.Acceleration > 0 && d.Acceleration <= 10_000) {
		problems = append(problems, fmt.Errorf("acceleration: %g is not in (0, 10000]", d.Acceleration))
	}
	if d.AtEnd == "" {
		d.AtEnd = "hold"
	}
	if d.AtEnd != "hold" && d.AtEnd != "repeat" {
		problems = append(problems, fmt.Errorf("at_end: %q is neither hold nor repeat", d.AtEnd))
	}
	if d.Between == "" {
		d.Between = "step"
	}
	if d.Between != "step" && d.Between != "linear" {
		problems = append(problems, fmt.Errorf("between: %q is neither step nor linear", d.Between))
	}
	if d.CapacityCores < 0 {
		problems = append(problems, fmt.Errorf("capacity_cores: %g is negative", d.CapacityCores))
	}
	return errors.Join(problems...)
}

func (d *Demand) at(curve *Curve, now time.Time) float64 {
	seconds := now.Sub(d.started).Seconds() * d.Acceleration
	return curve.at(seconds, d.Between == "linear", d.AtEnd == "repeat")
}

func (d *Demand) cores(now time.Time) float64 { return d.at(d.Cores, now) }

func (d *Demand) requests(now time.Time) (float64, bool) {
	if d.RequestsPerSecond == nil {
		return 0, false
	}
	return d.at(d.RequestsPerSecond, now), true
}

func (d *Demand) memory(now time.Time) (float64, bool) {
	if d.MemoryBytes == nil {
		return 0, false
	}
	return d.at(d.MemoryBytes, now), true
}
