package commands

import (
	"context"

	"walt/images"
	"walt/nodes"
)

// virtualModel is the model of virtual nodes unless told otherwise.
const virtualModel images.Model = "pc-x86-64"

func nodeCreate(ctx context.Context, c *Call) error {
	name, err := nodes.ParseName(c.arg(0))
	if err != nil {
		return err
	}
	model := virtualModel
	if c.given("model") {
		if model, err = images.ParseModel(c.option("model")); err != nil {
			return err
		}
	}
	result, err := c.Lab.Create(ctx, c.User, name, model)
	if err != nil {
		return err
	}
	return c.showResult(result)
}
