package api

import (
	"time"

	"walt/images"
)

// Jobs is the document of "advanced jobs".
type Jobs struct {
	Jobs []Job `json:"jobs"`
}

// Job is a transfer of an image that runs or waits.
type Job struct {
	ID    string     `json:"id"`
	What  string     `json:"what"`  // is transferred
	User  *string    `json:"user"`  // who waits for it; null: nodes do
	State string     `json:"state"` // "running", "waiting" or "stopped"
	Done  int64      `json:"done"`  // 0 when not known, as total
	Total int64      `json:"total"`
	Tries int        `json:"tries"` // that failed
	Next  *time.Time `json:"next"`  // try; null: now or never
	Error string     `json:"error"` // of the last try, ""
}

// NewJobs makes a document of transfers, in their order.
func NewJobs(all []images.Job) Jobs {
	doc := Jobs{[]Job{}}
	for _, j := range all {
		doc.Jobs = append(doc.Jobs, newJob(j))
	}
	return doc
}

func newJob(j images.Job) Job {
	doc := Job{
		ID: j.ID, What: j.What, User: orNull(string(j.User)), State: "waiting",
		Done: j.Done, Total: j.Total, Tries: j.Tries, Error: j.Error,
	}
	switch {
	case j.Running:
		doc.State = "running"
	case j.Stopped:
		doc.State = "stopped"
	case !j.Next.IsZero():
		doc.Next = &j.Next
	}
	return doc
}
