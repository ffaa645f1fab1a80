"""Every table of a run directory on one page: its columns, and the words that stand in them."""

import pyarrow as pa

# Internal to the index stage: what discover found, before any file is opened. Row group k = chunk k of thumbs.zarr.
FILES = pa.schema(
    [
        ("id", pa.int64()),
        ("path_raw", pa.binary()),
        ("root", pa.int32()),  # which of Config.roots it was found under; null if it is gone and so is that
        ("group", pa.string()),  # 'a' (paths) or 'b' (against) in an A-versus-B run, else null
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),  # 0 where the file system gives another at each look
        ("ctime_ns", pa.int64()),  # likewise
        ("device", pa.int64()),
        ("inode", pa.int64()),
        ("link_kind", pa.string()),
        ("removed", pa.bool_()),  # was there in an earlier run
        ("left_out", pa.bool_()),  # removed, as the settings leave it out now
        ("known_hash", pa.string()),  # of a file that moved here: what it holds is known under its id
    ]
)

IMAGES = pa.schema(
    [
        ("id", pa.int64()),
        ("path", pa.string()),  # for people: bytes that are not UTF-8 are shown as \xNN
        ("path_raw", pa.binary()),  # the exact bytes
        ("group", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("ctime_ns", pa.int64()),
        ("device", pa.int64()),
        ("inode", pa.int64()),
        ("width", pa.int32()),  # after the EXIF orientation
        ("height", pa.int32()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("exif_orientation", pa.int32()),
        ("has_alpha", pa.bool_()),
        ("frames", pa.int32()),
        ("file_hash", pa.string()),  # blake2b of the bytes, 32 hex digits
        ("flat", pa.bool_()),
        ("identical_to", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("root", pa.int32()),
        ("link_of", pa.int64()),  # the name that a file of several goes by, null on that one
        ("link_kind", pa.string()),  # 'symbolic': this name leads over a link; 'hard': the file has several; null
        ("transparent", pa.bool_()),  # every pixel has alpha 0; null where not decoded
        ("has_icc", pa.bool_()),  # an ICC colour profile
        ("camera", pa.string()),  # its make and model, by the EXIF of the file; null where that names none
        ("taken_at", pa.timestamp("s")),  # by the clock of the camera, which knows no zone; null where EXIF has none
        ("has_gps", pa.bool_()),  # coordinates in the EXIF
    ]
)

# A chunk's rows while the index is made: identical_to and link_of are known only once all chunks are.
IMAGE_PART = pa.schema(
    [*(field for field in IMAGES if field.name not in ("identical_to", "link_of")), pa.field("thumb_hash", pa.binary())]
)

MATCHES = pa.schema(
    [
        ("a", pa.int64()),  # a < b
        ("b", pa.int64()),
        ("path_a", pa.string()),
        ("path_b", pa.string()),
        ("path_raw_a", pa.binary()),  # the exact bytes, as in IMAGES
        ("path_raw_b", pa.binary()),
        ("mse", pa.float64()),  # sse / (S * S * 3)
        ("sse", pa.int64()),
        ("orientation", pa.string()),  # what is done to image b
        ("score", pa.float64()),  # by the metric of the run; the mse, if that is it
    ]
)

# Where --relations asks for them, one row a match: what its two pictures are to each other at full resolution.
RELATIONS_TABLE = pa.schema(
    [
        ("a", pa.int64()),
        ("b", pa.int64()),
        ("relation", pa.string()),  # a word of RELATIONS
        (
            "full_mse",
            pa.float64(),
        ),  # of all pixels, the larger picture shrunk; null where one does not lie on the other
        ("reason", pa.string()),  # what makes it 'edited', or why it is 'unknown'; else null
    ]
)

# What the two pictures of a match are to each other, and the words for it; the first that holds.
RELATIONS = {
    "same_bytes": "the same file, byte for byte",
    "same_pixels": "every pixel the same",  # upright, at full resolution, with alpha, depth and colour profile
    "turned": "turned or mirrored",  # and otherwise as the next two, or the same
    "resized": "another size",
    "recompressed": "saved again",  # of one size
    "edited": "changed",  # text, parts, colours, brightness, sharpness, cut, stretched, other frames
    "unknown": "could not be looked at",
}

# Internal to the compare stage: the images whose pairs are all decided, and what of them decided that.
COMPARED = pa.schema(
    [
        ("id", pa.int64()),
        ("file_hash", pa.string()),
        ("side", pa.string()),  # what it is compared with goes by this: its group, or its root; empty if it does not
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

CLUSTERS = pa.schema(
    [
        ("cluster", pa.int64()),  # 0 is the largest
        ("image", pa.int64()),
        ("path", pa.string()),
        ("path_raw", pa.binary()),  # the exact bytes, as in IMAGES
        ("role", pa.string()),  # 'keep', 'duplicate' or 'bridge'
        ("keeper", pa.int64()),
        ("mse_to_keeper", pa.float64()),  # null where the two were not compared, or are further apart than the cutoff
        ("reason", pa.string()),  # of a 'bridge', the first that holds of REASONS; else null
        ("rule", pa.string()),  # what put the keeper before it, one of RULES; null for the keeper
        (
            "compared",
            pa.string(),
        ),  # by that rule: '4000 x 3000 over 640 x 480', the keeper's first; null if it has none
    ]
)

# With --hash, one row an image; null where that was not read.
HASHES = pa.schema(
    [
        ("id", pa.int64()),
        ("hash", pa.string()),  # what pictures go by; of the four below the least
        (
            "hash_identity",
            pa.string(),
        ),  # of the thumbnail as it is, and turned; null where the hash is a function of yours
        ("hash_rot90", pa.string()),
        ("hash_rot180", pa.string()),
        ("hash_rot270", pa.string()),
    ]
)

# What Run.identical gives; it is not stored.
IDENTICAL = pa.schema(
    [
        ("set", pa.int64()),  # 0 is the largest
        ("image", pa.int64()),  # the one to keep is the first of its set
        ("keeper", pa.int64()),
        ("path", pa.string()),
        ("path_raw", pa.binary()),
        ("size_bytes", pa.int64()),
        ("link_of", pa.int64()),  # where this is another name of a file
        ("hash", pa.string()),  # that all of the set have
    ]
)

# What is found at other thresholds: what the plot of these draws.
CURVE = pa.schema(
    [
        ("threshold", pa.float64()),
        ("matches", pa.int64()),  # pairs at or under it
        ("clusters", pa.int64()),
        ("duplicates", pa.int64()),
        ("bridges", pa.int64()),
        ("duplicate_bytes", pa.int64()),  # on disk, a file under several names once
    ]
)

# Why an image in a cluster is no duplicate of the keeper, and the words for it.
REASONS = {
    "not_asked_for": "not compared with the one to keep",  # --against, --scope, --same-size, --max-aspect, --same-hash
    "chain": "joined through another only",
    "protected": "protected",  # by --protect, or not under --only
    "transparent": "transparent throughout",  # it or the keeper
    "flat": "one colour, or nearly",  # it or the keeper
    "frames": "another number of frames",
    "aspect": "other proportions",  # by a factor over 1.1, or over --max-aspect
}

# What decides which picture of a cluster is kept, the first thing first: the one to keep ...
RULES = {
    "link": "is no symbolic link",
    "protected": "is protected",
    "archive": "is of the archive",
    "camera": "is from a camera",  # its EXIF names one
    "pixels": "has more pixels",
    "format": "has the format of a camera",  # where the pixels are as many
    "lossless": "has a lossless format",
    "date": "says when it was taken",
    "gps": "says where it was taken",
    "icc": "has a colour profile",
    "name": "has no name of a copy",  # such as 'Photo (1).jpg', 'Copy of Photo.jpg', 'Photo-edited.jpg'
    "taken": "was taken first",
    "older": "is older",
    "newer": "is newer",
    "bytes": "has more bytes",
    "paths": "is under the PATH that was named first",
    "folder": "is in a folder that is preferred",
    "shortest": "has the shorter path",
    "path": "has the first path",
}

# The answers to questions: tables that a caller is given, and that no run directory holds.

FOLDERS = pa.schema(  # a row a pair of folders; each holds all that lies below it
    [
        ("folder_a", pa.string()),
        ("folder_b", pa.string()),  # of the two the one that is more in the other
        ("images_a", pa.int64()),  # pictures read
        ("images_b", pa.int64()),
        ("shared_a", pa.int64()),  # pictures of a with a near duplicate in b
        ("shared_b", pa.int64()),  # pictures of b with a near duplicate in a
        ("percent_a", pa.float64()),  # how much of a is in b: shared_a of images_a
        ("percent_b", pa.float64()),
        ("overlap_percent", pa.float64()),  # both shared of both images
        ("b_in_a", pa.bool_()),  # b is wholly in a
        ("a_in_b", pa.bool_()),
        ("folder_raw_a", pa.binary()),  # the exact bytes
        ("folder_raw_b", pa.binary()),
    ]
)

UNIQUE = pa.schema(  # a row a picture without a near duplicate on another side
    [
        ("image", pa.int64()),
        ("path", pa.string()),
        ("path_raw", pa.binary()),
        ("group", pa.string()),  # its side with --against
        ("root", pa.int32()),  # its side without: the PATH that it was found under
        ("size_bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

TOP = pa.schema(  # a row a cluster, the one that would give back most bytes first
    [
        ("cluster", pa.int64()),
        ("keeper", pa.int64()),
        ("path", pa.string()),  # of the keeper
        ("path_raw", pa.binary()),
        ("keeper_bytes", pa.int64()),
        ("images", pa.int64()),
        ("duplicates", pa.int64()),
        ("bridges", pa.int64()),
        ("freed_files", pa.int64()),  # of the duplicates, a file under several names once, none that a keeper is
        ("freed_bytes", pa.int64()),
    ]
)

LEAKAGE_SPLITS = pa.schema(  # a row a split, the one of training first
    [
        ("split", pa.string()),
        ("images", pa.int64()),  # pictures read
        ("is_training", pa.bool_()),
        ("leaking", pa.int64()),  # with a near duplicate in the split of training; null for that one
        ("leaking_percent", pa.float64()),
        ("elsewhere", pa.int64()),  # with a near duplicate in any other split
        ("elsewhere_percent", pa.float64()),
        ("kept", pa.int64()),  # by the policy
        ("dropped", pa.int64()),
    ]
)

LEAKAGE_MATRIX = pa.schema(  # a row two splits, and a split with itself
    [
        ("split_a", pa.string()),
        ("split_b", pa.string()),
        ("pairs", pa.int64()),  # near duplicates, those of identical thumbnails each
        ("images_a", pa.int64()),  # pictures of a with another in b that is near
        ("images_b", pa.int64()),
        ("percent_a", pa.float64()),
        ("percent_b", pa.float64()),
    ]
)

LEAKAGE_CURVE = pa.schema(  # a row a threshold and a split of evaluation
    [
        ("threshold", pa.float64()),
        ("split", pa.string()),
        ("leaking", pa.int64()),
        ("leaking_percent", pa.float64()),
    ]
)

LEAKAGE_CONFLICTS = pa.schema(  # a row a pair of near duplicates with two labels
    [
        ("a", pa.int64()),  # of a set of identical thumbnails the first with that label in that split
        ("b", pa.int64()),
        ("path_a", pa.string()),
        ("path_b", pa.string()),
        ("path_raw_a", pa.binary()),
        ("path_raw_b", pa.binary()),
        ("label_a", pa.string()),
        ("label_b", pa.string()),
        ("split_a", pa.string()),
        ("split_b", pa.string()),
        ("score", pa.float64()),  # by the metric of the run
    ]
)

LEAKAGE_IMAGES = pa.schema(  # the cleaned splits: a row a picture read
    [
        ("image", pa.int64()),
        ("path", pa.string()),
        ("path_raw", pa.binary()),
        ("split", pa.string()),  # null where none is known
        ("label", pa.string()),
        ("group", pa.int64()),  # equal for all that are joined by near duplicates: for GroupKFold
        ("action", pa.string()),  # 'keep' or 'drop'; null without a split
        ("near_image", pa.int64()),  # in another split, the nearest at or under the threshold
        ("near_path", pa.string()),
        ("near_split", pa.string()),
        ("near_score", pa.float64()),
        ("label_conflict", pa.bool_()),  # a near duplicate has another label
    ]
)

EVALUATION = pa.schema(  # a row a threshold at which something changes
    [
        ("threshold", pa.float64()),
        ("found", pa.int64()),  # pairs at or under it
        ("correct", pa.int64()),  # of these those in the truth
        ("missed", pa.int64()),  # in the truth, not found
        ("precision", pa.float64()),  # correct of found
        ("recall", pa.float64()),  # correct of the truth
    ]
)

# status in images.parquet; all but 'ok' are never compared
STATUSES = (
    "ok",
    "empty",
    "unidentified",
    "unsupported",
    "truncated",
    "too_large",
    "timeout",
    "unreadable",
    "changed",
    "decode_error",
    "removed",
)
