package load

// kind is one kind of operation.
type kind struct {
	name    string
	planned bool // before it begins
}

// Kinds of operations by their numbers, of all workloads.
const (
	kindMain       uint8 = 0
	kindHeartbeat  uint8 = 1 // of connections that are otherwise idle
	kindDelivery   uint8 = 1 // of a broadcast to one connection
	kindConnecting uint8 = 1 // of a visit
)

// kinds are those of a run with o, which has its defaults.
func (o *Options) kinds() []kind {
	all := []kind{{o.Workload, o.open()}}
	if o.Protocol != "" {
		all[0].name = o.Protocol
	}
	switch {
	case o.Workload == WorkloadBroadcast:
		all = append(all, kind{name: "delivery"})
	case o.Workload == WorkloadChurn:
		all = append(all, kind{name: "connect"})
	case o.Workload == WorkloadPush:
		all[0].planned = false // not here
	case o.Heartbeat > 0:
		all = append(all, kind{"heartbeat", true})
	}
	return all
}
