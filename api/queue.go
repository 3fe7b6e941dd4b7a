package api

import (
	"time"

	"walt/auth"
	"walt/images"
	"walt/nodes"
)

// Queue is who waits for nodes, in the order of arrival.
type Queue struct {
	Waiting []Wish `json:"waiting"`
}

// Wish is what a user waits for.
type Wish struct {
	ID      int           `json:"id"`
	Place   int           `json:"place"` // 1: nobody before wants any of the same nodes
	User    auth.Name     `json:"user"`
	Wants   string        `json:"wants"` // in words, as in "2 of rpi-3-b"
	N       *int          `json:"n"`     // of any nodes; null: named ones
	Model   *images.Model `json:"model"` // null: any
	Since   time.Time     `json:"since"`
	Job     *nodes.Job    `json:"job"`
	Note    *string       `json:"note"`
	Present bool          `json:"present"` // false: the place is kept for a moment
}

// NewQueue makes a document of the wishes that wait.
func NewQueue(all []nodes.Queued) Queue {
	doc := Queue{[]Wish{}}
	for _, q := range all {
		doc.Waiting = append(doc.Waiting, Wish{
			ID: q.ID, Place: q.Place, User: q.User, Wants: q.What, N: orNull(q.N), Model: orNull(q.Model),
			Since: q.Since, Job: orNull(q.Remarks.Job), Note: orNull(q.Remarks.Note), Present: q.Here,
		})
	}
	return doc
}
