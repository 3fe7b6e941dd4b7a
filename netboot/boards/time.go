package boards

import (
	"context"
	"errors"
	"syscall"

	"walt/netboot/sntp"
	"walt/pause"
)

// serveTime tells devices the time, until ctx ends. Where another program of this host does
// that, it need not.
func (b *boards) serveTime(ctx context.Context) {
	for told := false; ; {
		conn, err := b.on.ListenUDP(sntp.Port)
		if err == nil {
			err = sntp.Serve(ctx, conn, b.Now)
			conn.Close()
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case told:
		case errors.Is(err, syscall.EADDRINUSE):
			b.Log.Info("another program of this host tells devices the time", "network", b.Net)
		default:
			b.Log.Warn("devices do not learn the time from here; it is tried again every minute", "network", b.Net, "err", err)
		}
		told = true
		if pause.For(ctx, beginAgain) != nil {
			return
		}
	}
}
