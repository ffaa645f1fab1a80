"""Every table of a run directory on one page: its columns. The words that stand in them are in words.py."""

import pyarrow as pa

# What a file is known again by: as it was when it was looked at.
_IDENTITY = [
    ("size_bytes", pa.int64()),
    ("mtime_ns", pa.int64()),  # 0 where the file system gives another at each look
    ("ctime_ns", pa.int64()),  # likewise
    ("device", pa.int64()),
    ("inode", pa.int64()),
]

# Internal to the index stage: what discover found, before any file is opened. Row group k = chunk k of thumbs.zarr.
FILES = pa.schema(
    [
        ("id", pa.int64()),
        ("path_raw", pa.binary()),
        ("root", pa.int32()),  # which of Config.roots it was found under; null if it is gone and so is that
        ("group", pa.string()),  # 'a' (paths) or 'b' (against) in an A-versus-B run, else null
        *_IDENTITY,
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
        *_IDENTITY,
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
        # 'ok'; why it cannot be read: 'empty', 'unidentified', 'unsupported', 'truncated', 'too_large', 'timeout',
        # 'unreadable', 'changed' or 'decode_error'; 'removed' where only an earlier run found it.
        ("status", pa.string()),
        ("error", pa.string()),
        ("root", pa.int32()),
        ("link_of", pa.int64()),  # the name that a file of several goes by, null on that one
        ("link_kind", pa.string()),  # 'symbolic': this name leads over a link; 'hard': the file has several; null
        ("transparent", pa.bool_()),  # every pixel has alpha 0; null where not decoded
        ("has_icc", pa.bool_()),  # an ICC colour profile
        ("camera", pa.string()),  # its make and model, by the EXIF of the file; null where that names none
        ("taken_at", pa.timestamp("s")),  # by the clock of the camera, which knows no zone; null where EXIF has none
        ("has_gps", pa.bool_()),  # coordinates in the EXIF, which say a place where `latitude` is not null
        ("rating", pa.int32()),  # by its XMP or EXIF: 1 to 5, or -1 for what was rejected; null where nobody rated
        ("latitude", pa.float64()),  # by the EXIF, degrees, south and west below 0; null where it does not say
        ("longitude", pa.float64()),
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

# With several looks, the matches also say by which two the pictures match: the first is the least.
MATCHES_BY_LOOKS = pa.schema([*MATCHES, ("look_a", pa.string()), ("look_b", pa.string())])

# Where --relations asks for them, one row a match: what its two pictures are to each other at full resolution.
RELATIONS_TABLE = pa.schema(
    [
        ("a", pa.int64()),
        ("b", pa.int64()),
        ("relation", pa.string()),  # a word of RELATIONS
        # Of all pixels, the larger picture shrunk; null where one does not lie on the other.
        ("full_mse", pa.float64()),
        ("reason", pa.string()),  # what makes it 'edited', or why it is 'unknown'; else null
    ]
)

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
        ("rule", pa.string()),  # what put the keeper before it, one of RULES; null for the keeper, or a better bridge
        # By that rule: '4000 x 3000 over 640 x 480', the keeper's first; null if it has none.
        ("compared", pa.string()),
    ]
)

# With --hash, one row an image; null where that was not read.
HASHES = pa.schema(
    [
        ("id", pa.int64()),
        ("hash", pa.string()),  # what pictures go by; of the four below the least
        # Of the thumbnail as it is, and turned; null where the hash is a function of yours.
        ("hash_identity", pa.string()),
        ("hash_rot90", pa.string()),
        ("hash_rot180", pa.string()),
        ("hash_rot270", pa.string()),
    ]
)

# What may be done with the duplicates of a run: a row a file that would go, and a row a file that stays though it is in
# a cluster and not its keeper (`action` is 'keep', `reason` says why). 'plan' writes it, 'apply' acts on it.
PLAN = pa.schema(
    [
        ("action", pa.string()),  # one of ACTIONS
        ("reason", pa.string()),  # why the file is kept, one of KEPT; null where it goes
        ("cluster", pa.int64()),
        ("image", pa.int64()),  # null for a sidecar, which goes with its picture
        ("path", pa.string()),
        ("path_raw", pa.binary()),  # the exact bytes, as in IMAGES
        ("goes_with", pa.int64()),  # the image whose file this one belongs to: a sidecar, or the other half of RAW+JPEG
        ("keeper", pa.int64()),
        ("keeper_path", pa.string()),
        ("keeper_path_raw", pa.binary()),
        ("mse", pa.float64()),  # between the two, and never through others; null where they were not compared
        ("relation", pa.string()),  # a word of RELATIONS, where --relations asked for them
        ("rule", pa.string()),  # what put the keeper before it, one of RULES
        ("compared", pa.string()),  # by that rule
        ("lost_metadata", pa.string()),  # what the file has and its keeper lacks: 'date, gps'; null where nothing
        *_IDENTITY,
        ("file_hash", pa.string()),  # blake2b of the bytes, 32 hex digits; null for a sidecar
        *((f"keeper_{name}", kind) for name, kind in _IDENTITY),
        ("keeper_file_hash", pa.string()),
    ]
)

# What people decided of pairs of pictures, by what these hold: it outlives renames and runs. Rows are only ever added;
# of a pair the last one counts.
DECISIONS = pa.schema(
    [
        ("hash_a", pa.string()),  # file_hash of IMAGES; hash_a < hash_b
        ("hash_b", pa.string()),
        ("decision", pa.string()),  # one of VERDICTS
        ("keeper", pa.string()),  # the file_hash of the one to keep of a pair that is the 'same'; null where rules say
        ("decided_at", pa.timestamp("us", tz="UTC")),
        ("by", pa.string()),  # 'decide', 'review', 'sample', or what another tool calls itself
    ]
)
