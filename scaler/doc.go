// Package scaler tells KEDA how busy each app is: it is an external scaler (keda.sh/docs, "External Scalers") over the counts of
// the interceptors.
//
// The trigger's metadata:
//
//	httpApp    the HTTPApp's name; required
//	namespace  the HTTPApp's namespace; default: the ScaledObject's
//	activeFor  how long after its last request, or after it was woken, an app is still active, such as 10s; default: a setting of the scaler
//	metric     concurrency or requestRate; default: as the HTTPApp says
//	target     how much of it one replica is for; default: as the HTTPApp says
//
// With two triggers of different metrics an app is scaled by whichever calls for more. Instead of all these a trigger may have
//
//	interceptorTarget  how many requests at a time, of all apps, one interceptor is for: it scales the interceptors
package scaler
