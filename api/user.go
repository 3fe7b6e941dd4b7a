package api

import (
	"time"

	"walt/auth"
)

// Users is the document of "user show".
type Users struct {
	Users []User `json:"users"`
}

// User is somebody who may log in.
type User struct {
	Name  auth.Name `json:"name"`
	Admin bool      `json:"admin"`
	Keys  []Key     `json:"keys"`
}

// Key is a public key of a user.
type Key struct {
	Fingerprint string `json:"fingerprint"` // "SHA256:<base64>"
	Comment     string `json:"comment"`
	Options     string `json:"options"` // as in authorized_keys; "" is no restriction
	Expired     bool   `json:"expired"` // it lets nobody in any more
}

// NewUsers makes a document of users, in their order, as they are now.
func NewUsers(all []auth.Account, now time.Time) Users {
	doc := Users{[]User{}}
	for _, a := range all {
		u := User{a.Name, a.Admin, []Key{}}
		for _, k := range a.Keys {
			u.Keys = append(u.Keys, Key{k.Fingerprint, k.Comment, k.Options, k.Expired(now)})
		}
		doc.Users = append(doc.Users, u)
	}
	return doc
}

// WhoAmI is the document of "whoami".
type WhoAmI struct {
	Admin bool      `json:"admin"`
	Key   string    `json:"key"` // its fingerprint, that of the key that was verified
	User  auth.Name `json:"user"`
}
