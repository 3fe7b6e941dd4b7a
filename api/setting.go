package api

import "walt/nodes"

// Settings is the document of "node config" and "device config".
type Settings struct {
	Settings []Setting `json:"settings"`
}

// Setting is one setting of a device.
type Setting struct {
	Name   string  `json:"name"` // of the device
	Key    string  `json:"key"`
	Value  *string `json:"value"`  // null: not set, or secret
	Secret bool    `json:"secret"` // it is set, and never shown
}

// NewSettings makes a document of settings.
func NewSettings(all []nodes.Setting) Settings {
	doc := Settings{[]Setting{}}
	for _, s := range all {
		doc.Settings = append(doc.Settings, Setting{Name: string(s.Device), Key: s.Key, Value: orNull(s.Value), Secret: s.Secret})
	}
	return doc
}
