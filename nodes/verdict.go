package nodes

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
)

// Verdict is what came of the last test of a node.
type Verdict struct {
	By     auth.Name  `json:"by"`
	Began  time.Time  `json:"began"` // UTC
	Ended  time.Time  `json:"ended"` // UTC
	Image  images.Ref `json:"image"` // that it booted
	Wanted int        `json:"wanted"`
	Rounds int        `json:"rounds"` // that there were
	Up     int        `json:"up"`     // of them
	Whole  Spread     `json:"whole"`  // until it was up
	// Steps are those that rounds reached, in their order, and how long each took.
	Steps    []StepSpread `json:"steps,omitempty"`
	Failures []Failure    `json:"failures,omitempty"`
	Early    string       `json:"early,omitempty"` // why it ended before all rounds, in words for users; "" when it did not
}

// Spread is how long something took, of several times.
type Spread struct {
	Min    time.Duration `json:"min"`
	Median time.Duration `json:"median"`
	Max    time.Duration `json:"max"`
}

// StepSpread is the Spread of a step, from the one before it on.
type StepSpread struct {
	Step Step `json:"step"`
	Spread
}

// Failure is in how many rounds a node came no further than a step, for the same reason.
type Failure struct {
	Step   Step   `json:"step"`
	Why    string `json:"why"`
	Rounds int    `json:"rounds"`
}

// mostFailures is how many different ones are kept.
const mostFailures = 20

// judge fills a verdict by the rounds that there were. ended is why there were no more, nil
// when there were all.
func (v *Verdict) judge(rounds []Round, now time.Time, ended error) {
	var whole []time.Duration
	steps := map[Step][]time.Duration{}
	for _, r := range rounds {
		for _, leg := range r.Legs {
			steps[leg.Step] = append(steps[leg.Step], leg.Took)
		}
		if r.Why == "" {
			whole = append(whole, r.Took)
		} else {
			v.fail(r)
		}
	}
	v.Ended, v.Rounds, v.Up, v.Whole = now, len(rounds), len(whole), spread(whole)
	for _, m := range milestones {
		if took := steps[m.step]; took != nil {
			v.Steps = append(v.Steps, StepSpread{m.step, spread(took)})
		}
	}
	switch f := fault.As(ended); {
	case f != nil:
		v.Early = f.Msg
	case ended != nil:
		v.Early = "interrupted"
	}
}

// fail counts a round that failed.
func (v *Verdict) fail(r Round) {
	f := Failure{Step: r.At, Why: short(r.Why)}
	i := slices.IndexFunc(v.Failures, func(o Failure) bool { return o.Step == f.Step && o.Why == f.Why })
	switch {
	case i < 0 && len(v.Failures) == mostFailures:
		return
	case i < 0:
		i = len(v.Failures)
		v.Failures = append(v.Failures, f)
	}
	v.Failures[i].Rounds++
}

// spread is that of some times, which it sorts; of none all is 0.
func spread(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	n := len(all)
	return Spread{all[0], (all[(n-1)/2] + all[n/2]) / 2, all[n-1]}
}

// Words tells of a node what came of its test, as in "came up in 18 of 20 rounds (median
// 12.3 s); 2 times it went no further than kernel: not up after 3m0s".
func (v Verdict) Words() string {
	var b strings.Builder
	switch {
	case v.Up == v.Wanted && v.Up > 1:
		fmt.Fprintf(&b, "came up in all %d rounds", v.Wanted)
	default:
		fmt.Fprintf(&b, "came up in %d of %d rounds", v.Up, v.Rounds)
	}
	if v.Up > 0 {
		fmt.Fprintf(&b, " (median %.1f s)", v.Whole.Median.Seconds())
	}
	for _, f := range v.Failures {
		fmt.Fprintf(&b, "; %s", f.Words())
	}
	if v.Early != "" {
		fmt.Fprintf(&b, "; %d more did not come to an end: %s", v.Wanted-v.Rounds, v.Early)
	}
	return b.String()
}

// Words tells it, as in "2 times it went no further than kernel: not up after 3m0s".
func (f Failure) Words() string {
	times := "once"
	if f.Rounds > 1 {
		times = fmt.Sprintf("%d times", f.Rounds)
	}
	return fmt.Sprintf("%s it went no further than %s: %s", times, f.Step, f.Why)
}
