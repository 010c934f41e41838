//go:build unix

package pollertest

var topics = []topic{
	{"Registration", registrationTests},
	{"Interest", interestTests},
	{"Edge", edgeTests},
	{"Stream", streamTests},
	{"Condition", conditionTests},
	{"Connect", connectTests},
	{"Identity", identityTests},
	{"Batch", batchTests},
	{"Wake", wakeTests},
	{"Timeout", timeoutTests},
	{"Signal", signalTests},
	{"Close", closeTests},
}
