// Package migrate reads what other systems call an app that is scaled by its requests, and writes the HTTPApp that is the same: the KEDA
// HTTP add-on's HTTPScaledObjects and InterceptorRoutes, the latter with their ScaledObjects, and Knative's Services, with their
// DomainMappings. Every field is read, or named as one that does not translate.
package migrate
