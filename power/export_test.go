package power

import (
	"context"
	"time"
)

// OrderOff is one round of saving power.
func (p *Ports) OrderOff(ctx context.Context) (time.Duration, error) { return p.orderOff(ctx) }
