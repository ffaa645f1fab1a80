"""The words that stand in the tables of a run directory, and what they say to people."""

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

# Why an image in a cluster is no duplicate of the keeper, and the words for it.
REASONS = {
    "not_asked_for": "not compared with the one to keep",  # --against, --scope, --same-size, --max-aspect, --same-hash
    "chain": "joined through another only",
    "protected": "protected",  # by --protect, or not under --only
    "not-same": "decided not to be the same picture",  # as the one to keep
    "variant": "decided to be kept beside another",
    "raw": "one of the two is a RAW, whose only duplicate is a copy of it",  # by its name; often a preview is read
    "transparent": "transparent throughout",  # it or the keeper
    "flat": "one colour, or nearly",  # it or the keeper
    "frames": "another number of frames",
    "moment": "taken by the same camera at another moment",  # two shots, such as those of a burst
    "edit": "one of the two is called an edit",  # 'IMG_E1234.JPG', 'Photo-edited.jpg': what somebody made of it
    "aspect": "other proportions",  # by a factor over 1.1, or over --max-aspect
}

# What may be done with a file, and the words for it.
ACTIONS = {
    "keep": "kept",
    "quarantine": "moved aside, on the same volume",
    "trash": "moved to the trash",
    "delete": "deleted for good",
    "hardlink": "replaced by a hard link to its keeper",  # the next three: files that are equal byte for byte
    "symlink": "replaced by a symbolic link to its keeper",
    "reflink": "made to share its blocks with its keeper",
}

# Why a file is kept that is in a cluster and not its keeper, or belongs to one that is; the first that holds.
KEPT = {
    **REASONS,
    "elsewhere": "it or its keeper is no file in a folder",  # but in an archive, a bucket, on a server
    "link": "reached over a symbolic link",
    "library": "in the library of an application, which would miss it",  # of Photos, Lightroom and the like
    "keeper_name": "another name of a file that is kept",
    "not_equal": "not equal to its keeper byte for byte",  # and a link is asked for
    "folders": "not of the folders that were asked for",
    "where": "not chosen by --where",
    "metadata": "has metadata that its keeper lacks",  # with --keep-metadata
    "unit": "belongs together with a file that is kept",  # RAW + JPEG, HEIC + MOV
    "shared": "belongs to another picture too, which is kept",  # a sidecar
}

# What people may decide of two pictures, and the words for it.
VERDICTS = {
    "same": "the same picture",
    "not-same": "not the same picture",
    "variant": "the same, and both are kept",
    "undecided": "taken back",
}

# What decides which picture of a cluster is kept, the first thing first: the one to keep ...
RULES = {
    "link": "is no symbolic link",
    "protected": "is protected",
    "archive": "is of the archive",
    "decided": "was decided to be kept",
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
