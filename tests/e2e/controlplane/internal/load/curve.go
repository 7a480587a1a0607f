// Package load answers: how much work do users ask of a workload, what do its pods do about it, and how much was lost?
//
// The physics are those of a server farm without queues: demand is spread evenly over ready pods, a pod does as much as
// its CPU limit allows, and the rest is lost. What pods report is what a metrics server would have measured of it.
package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sort"
)

// Curve is a value over time: constant, or through points.
type Curve struct {
	// Seconds since the start, ascending, the first 0, and the values from there on. At least one.
	points [][2]float64
}

// UnmarshalJSON reads a number, or a list of [seconds, value].
func (c *Curve) UnmarshalJSON(text []byte) error {
	var constant float64
	if json.Unmarshal(text, &constant) == nil {
		c.points = [][2]float64{{0, constant}}
		return c.check()
	}
	var points [][]float64
	if err := json.Unmarshal(text, &points); err != nil {
		return errors.New("a curve is a number or a list of [seconds, value]")
	}
	c.points = nil
	for _, point := range points {
		if len(point) != 2 {
			return fmt.Errorf("a point is [seconds, value], not %v", point)
		}
		c.points = append(c.points, [2]float64{point[0], point[1]})
	}
	return c.check()
}

// MarshalJSON is the inverse.
func (c Curve) MarshalJSON() ([]byte, error) {
	if len(c.points) == 1 {
		return json.Marshal(c.points[0][1])
	}
	return json.Marshal(c.points)
}

func (c *Curve) check() error {
	if len(c.points) == 0 || c.points[0][0] != 0 {
		return errors.New("the first point of a curve is at second 0")
	}
	for i, point := range c.points {
		if i > 0 && point[0] <= c.points[i-1][0] {
			return fmt.Errorf("seconds ascend; %g follows %g", point[0], c.points[i-1][0])
		}
		if point[1] < 0 || math.IsInf(point[1], 0) || math.IsNaN(point[1]) {
			return fmt.Errorf("demand is finite and not negative, not %g", point[1])
		}
	}
	return nil
}

// at is the value at a time; past the last point it holds or begins again.
func (c *Curve) at(seconds float64, linear, repeat bool) float64 {
	last := len(c.points) - 1
	end := c.points[last][0]
	if repeat && end > 0 {
		seconds = math.Mod(seconds, end)
	}
	next := sort.Search(len(c.points), func(i int) bool { return c.points[i][0] > seconds })
	if next == 0 {
		return c.points[0][1]
	}
	from := c.points[next-1]
	if !linear || next > last {
		return from[1]
	}
	to := c.points[next]
	return from[1] + (to[1]-from[1])*(seconds-from[0])/(to[0]-from[0])
}
