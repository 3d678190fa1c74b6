package conformance

// RecordSkips are the tests that do not apply to records, and why. None is of plain behaviour.
var RecordSkips = map[string]string{
	"RunTestCreateWithTTL":                 noTTL,
	"RunTestGuaranteedUpdateWithTTL":       noTTL,
	"RunTestCompactRevision":               "compaction is the host's, which does not say to which version it compacted",
	"RunTestTransformationFailure":         broken,
	"RunTestWatchError":                    broken,
	"RunWatchErrorIsBlockingFurtherEvents": broken,
	"RunTestWatchWithUnsafeDelete":         broken,
	"RunOptionalTestProgressNotify":        "optional: a host tells watches how far they are at its own pace, and cannot be asked to",
}

// EtcdSkips are the tests that do not apply to the library's own store on etcd, and why.
var EtcdSkips = map[string]string{
	"RunTestOptionalWatchBookmarksWithCorrectResourceVersion": "optional: a store without a cache sends no bookmarks",
}

// CachedEtcdSkips are the tests that do not apply to the library's store behind its cache, as the server has it, and why.
var CachedEtcdSkips = map[string]string{
	"RunTestTransformationFailure":         cacheRecovers,
	"RunTestWatchError":                    cacheRecovers,
	"RunTestWatchWithUnsafeDelete":         cacheRecovers,
	"RunWatchErrorIsBlockingFurtherEvents": cacheRecovers,
	"RunTestListInconsistentContinuation":  "it takes the namespace from a pod that was stored in one, and a cache finds objects by what they say",
	"RunOptionalTestProgressNotify":        "optional: a cache tells watches how far they are at its own pace",
}

const (
	cacheRecovers = "it wants clients to hear of an object that cannot be read; the cache hears of it instead, and begins anew"
	noTTL         = "records do not expire, and the store refuses to pretend"
	broken        = "it wants one object that cannot be read to end every list and watch; here it is left out, so that it does not take all others with it"
)
