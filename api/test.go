package api

import (
	"time"

	"walt/auth"
	"walt/images"
	"walt/nodes"
)

// TestRun is the document of "device test".
type TestRun struct {
	Node   nodes.Name `json:"name"`
	Rounds []Round    `json:"rounds"`
	Test   *Test      `json:"test"`
}

// Round is one boot of a test.
type Round struct {
	Number  int         `json:"round"` // from 1
	Up      bool        `json:"up"`
	Seconds float64     `json:"seconds"` // until it was up, or had failed
	Step    string      `json:"step"`    // the last that it reached
	Reason  *string     `json:"reason"`  // why it did not come up; null: it did
	Took    []RoundStep `json:"took"`
}

// RoundStep is a step that a round reached.
type RoundStep struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"` // from the step before
}

// Test is what came of the last test of a device.
type Test struct {
	Verdict  string       `json:"verdict"` // "passed", "failed" or "ended"
	By       auth.Name    `json:"by"`
	Began    time.Time    `json:"began"`
	Ended    time.Time    `json:"ended"`
	Image    images.Ref   `json:"image"`
	Wanted   int          `json:"wanted"`  // rounds
	Done     int          `json:"done"`    // of them
	Up       int          `json:"came_up"` // in so many of those
	Reason   *string      `json:"reason"`  // why it ended early; null: it did not
	Steps    []StepSpread `json:"steps"`   // how long each took, and "all" together
	Failures []Failure    `json:"failures"`
}

// StepSpread is how long a step took, in seconds.
type StepSpread struct {
	Step   string  `json:"step"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Failure is in how many rounds it came no further than a step, for the same reason.
type Failure struct {
	Step   string `json:"step"`
	Reason string `json:"reason"`
	Times  int    `json:"times"`
}

// NewRound makes a round for programs.
func NewRound(r nodes.Round) Round {
	doc := Round{Number: r.Number, Up: r.Why == "", Seconds: seconds(r.Took), Step: string(r.At), Reason: orNull(r.Why), Took: []RoundStep{}}
	for _, l := range r.Legs {
		doc.Took = append(doc.Took, RoundStep{string(l.Step), seconds(l.Took)})
	}
	return doc
}

// NewTest makes a verdict for programs.
func NewTest(v nodes.Verdict) *Test {
	doc := &Test{
		Verdict: "passed", By: v.By, Began: v.Began, Ended: v.Ended, Image: v.Image, Wanted: v.Wanted, Done: v.Rounds, Up: v.Up,
		Reason: orNull(v.Early), Steps: []StepSpread{}, Failures: []Failure{},
	}
	switch {
	case v.Up < v.Rounds:
		doc.Verdict = "failed"
	case v.Early != "":
		doc.Verdict = "ended"
	}
	for _, s := range v.Steps {
		doc.Steps = append(doc.Steps, newSpread(string(s.Step), s.Spread))
	}
	if v.Up > 0 {
		doc.Steps = append(doc.Steps, newSpread("all", v.Whole))
	}
	for _, f := range v.Failures {
		doc.Failures = append(doc.Failures, Failure{string(f.Step), f.Why, f.Rounds})
	}
	return doc
}

func newSpread(step string, s nodes.Spread) StepSpread {
	return StepSpread{step, seconds(s.Min), seconds(s.Median), seconds(s.Max)}
}

// seconds is a length of time, to a thousandth.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
