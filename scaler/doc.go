// Package scaler tells KEDA how busy each app is: it is an external scaler (keda.sh/docs, "External Scalers") over the counts of
// the interceptors.
//
// The trigger's metadata:
//
//	httpApp    the HTTPApp's name; required
//	namespace  the HTTPApp's namespace; default: the ScaledObject's
//	activeFor  how long after its last request an app is still active, such as 10s; default: a setting of the scaler
package scaler
