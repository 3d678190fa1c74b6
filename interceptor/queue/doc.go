// Package queue counts the requests that wait and are being answered, for each app, in every interceptor, and adds the counts
// of all interceptors up for those who decide on them.
//
// In an interceptor, Counters keeps the counts and Publisher streams them. Elsewhere a Collector follows all Publishers and
// answers with Samples.
package queue
