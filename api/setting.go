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

// NewSetting describes a setting.
func NewSetting(s *nodes.Setting) Setting {
	return Setting{Name: string(s.Device), Key: s.Key, Value: orNull(s.Value), Secret: s.Secret}
}
