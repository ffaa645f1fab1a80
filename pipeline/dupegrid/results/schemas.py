"""Every table that a caller is given as an answer, on one page: its columns. No run directory holds them."""

import pyarrow as pa

# What Run.identical gives; no run directory holds it.
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

# What Run.scores gives: of each match, in the order of `matches`, second scores (scores.py).
SCORES = pa.schema(
    [
        ("a", pa.int64()),
        ("b", pa.int64()),
        ("ssim", pa.float64()),  # structural similarity, 1 where equal; needs scikit-image
        ("shifted_mse", pa.float64()),  # the least MSE over shifts of up to 3 pixels of the thumbnails
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
        ("freed_files", pa.int64()),  # of the duplicates, a file under several names once, none of which a name stays
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
