"""Limits: how much of what comes from elsewhere is taken in. All of them are here.

What goes beyond one is refused, with its name and value in the message. ``docs/limits.md`` is
generated from this file.
"""

from __future__ import annotations

MIB = 1 << 20

HEADER_BYTES = 16 * MIB
"""Of the header of a safetensors file, or the index of several. 10,000 tensors need 1.5 MB."""

HEADER_BRACKETS = 1_000_000
"""Lists and objects in that header, counted before it is parsed: each takes memory."""

TENSORS = 100_000
"""Tensors in a weights file."""

KEYED_TENSORS = 10_000
"""Of a file whose keys a server is asked about."""

DIMENSIONS = 64
"""Of a tensor: PyTorch has no more either."""

LARGEST = 2**63 - 1
"""Number in a header, a manifest or a listing, and elements of a tensor: no index holds more."""

PICKLE_BYTES = 8 * MIB
"""Of the pickle in a ``.pth`` file, without its tensors' bytes."""

SHARED_WEIGHTS = 4
"""Times the size of a ``.pth`` file that its tensors, which may share bytes, take together."""

CONFIG_BYTES = MIB
"""Of a ``config.json`` and each other file that explains weights."""

NOTE_LETTERS = 500
"""Of a ``--note``, and of an author that a checkpoint records."""

RECORD_METRICS = 1000
"""Figures that are taken of what an exported folder states of its weights."""

RECORD_LETTERS = 200
"""Of a name there: of a figure, a data set, a parent."""

ARGS_BYTES = 64 * 1024
"""Of an ``args.yaml`` beside weights."""

RECORD_BYTES = 16 * MIB
"""Of a ``summary.csv``, ``metrics.csv`` or ``trainer_state.json`` beside weights."""

IMPORT_FILES = 10_000
"""Files of weights in a folder that is imported with all below it."""

IMAGE_PIXELS = 178_956_970
"""Of an image, by its header, before it is decoded; ``--max-pixels`` allows more, or less."""

PACKED_IMAGE_BYTES = 256 * MIB
"""Of an image that lies in a Parquet file, as it is encoded."""

PACKED_BATCH = 4
"""Such images that are in memory at a time, beside the page that they are of; Parquet's own limit
on that is 2 GiB."""

PACKED_TIMES = 100
"""Times the size of a Parquet file that the images in it take together, or the cells that are read
where that is more than `TABLE_BYTES`."""

TABLE_ROWS = 100_000
"""Of a table in a Parquet file, or `TABLE_TIMES` its bytes where that is more."""

TABLE_TIMES = 4
"""Rows that a byte of such a file may stand for: numbered names take 0.7 bytes once compressed."""

TABLE_BYTES = 64 * MIB
"""Of the cells of a Parquet file in the columns that are read, images aside."""

TABLE_BATCH = 1024
"""Rows of these that are in memory at a time as Parquet has them."""

PIXEL_BYTES = 16
"""Of memory that decoding takes at most for a pixel. So much must be free for an image above that
limit."""

ROW_PIXELS = 8
"""A row of an image counts as so many pixels at least: to keep track of it takes memory, too."""

LARGE_IMAGE = 32 * MIB
"""Pixels from which on images are decoded one at a time, however many threads read."""

TRIED_IMAGE_BYTES = 16 * MIB
"""Of an image that a page of a server sends to be tried."""

TRIED_IMAGE_PIXELS = 64 * MIB
"""Of such an image, by its header, before it is decoded."""

TRIED_MEMORY = 8 << 30
"""Bytes of memory, maps of weights included, of the process that tries images; Linux holds it to
that."""

RESIZED_PIXELS = 178_956_970
"""Of an image once it is resized for a network: a narrow one grows with its shorter side."""

IMAGE_SIDE = 8192
"""Height and width that a network is built for, or that preprocessing asks for."""

CALIBRATION_BYTES = 2 * MIB
"""Of what a checkpoint keeps to say how far its answers can be trusted."""

CALIBRATION_VALUES = 10_000
"""Values in that file, counted before it is parsed."""

LORA_RANK = 1024
"""Of an adapter."""

CHANNELS = 1024
"""Of a network's input."""

CLASSES = 1_000_000
"""Outputs that a network's head is built with."""

CROP_LEAST = 0.05
"""Least share of the resized image that the crop keeps."""

CROP_MOST = 2.0
"""Most of it: above 1, the image is padded."""

STATISTIC = 1e6
"""Means of preprocessing lie between plus and minus this; deviations between 0 and this."""

ENTRY_BYTES = 64 * 1024
"""Of a ref entry; zoo writes some hundred."""

MARKER_BYTES = 4096
"""Of a store's ``zoo.json``."""

SIGN_BYTES = 4096
"""Of a sign of an upload or prune that are looked at; zoo writes some hundred."""

SIGNATURE_BYTES = 256 * 1024
"""Of a signature of a checkpoint. One of a checkpoint of 10 files has 5 kB."""

SIGNATURES = 16
"""Of one checkpoint that are looked at; a server keeps so many for each repository."""

SIGNER_BYTES = 64 * 1024
"""Of a file with the public key or the certificates of somebody who signs."""

JSON_FILE_BYTES = MIB
"""Of a file that a zoo keeps beside its store, such as ``remotes.json``."""

VIEW_BYTES = 16 * MIB
"""Of what a server keeps of a checkpoint's files: their names, and the texts that it made."""

REQUEST_BYTES = MIB
"""Of the body of a request to a server that sends no file."""

UPLOADED_FILE_BYTES = 256 << 30
"""Of a file that is sent to a server."""

UPLOADED_HEADER_BYTES = 4 * MIB
"""Of the header of a weights file that a server takes apart as it arrives; 25,000 tensors need so
much. What has a larger one is kept whole."""

UPLOAD_PART_BYTES = 8 * MIB
"""Of a part of an object that `zoo push` sends to a server; what is larger is sent in several."""

STAT_KEYS = 10_000
"""Objects that a server is asked for in one request."""

ANSWER_BYTES = 16 * MIB
"""Of what a server answers to a question; the sizes of 10,000 objects take 1.5 MB."""

LISTING_BYTES = 256 * MIB
"""Of a server's list of names or files; two million take so much."""

COMMIT_BYTES = 150 * MIB
"""Of the body of a commit; large files come before it, each by itself."""

COMMIT_LINE_BYTES = 16 * MIB
"""Of a line of it, which has a small file whole."""

COMMIT_LINES = 100_000
"""Of a commit: files that it adds or deletes."""

MESSAGE_BYTES = 16 * 1024
"""Of the message of a commit; what is longer is cut."""

FRONT_BYTES = 64 * 1024
"""Of the YAML at the beginning of a README."""

FRONT_NESTING = 16
"""Lists and maps within each other in it."""

RUN_BYTES = 64 * MIB
"""Of a fine-tune's ``run.json``."""

METRICS_BYTES = 1024 * MIB
"""Of a fine-tune's ``metrics.jsonl``."""

REPORTED_RUNS = 5000
"""Runs that a server takes reports of in a namespace."""

REPORTED_LINE_BYTES = 4096
"""Of a line of the journal of a run that is reported to a server."""

REPORTED_LINES_BYTES = 40 * MIB
"""Of all its lines: of more than 100,000 steps each tenth is sent, of a million each hundredth."""

RESULTS_BYTES = 16 * MIB
"""Of a table of results that networks are ranked by."""

RANKED_NETWORKS = 1000
"""Networks that are ranked at once."""

KEPT_RANKINGS = 10_000
"""Measurements of networks, in the cache, that are read as history."""

KEPT_ADVICE = 10_000
"""Files of advice, and trials, that are read at most; the newest are."""

CHUNK_WORDS = 256 * 1024
"""Words in a chunk of an encoded object, as the writer makes them; a word has at most 8 bytes."""

CHUNK_LEAST = 1024
"""Fewest words in a chunk of an encoded object that has several."""

TEXT_BYTES = 4 * MIB
"""Of a manifest, or a header of a weights file, that is encoded with zstd, and of what it is the
difference from. Larger ones are not encoded so."""

OBJECT_BYTES = 8 << 30
"""Of an encoded object when it is decoded; no tensor that we know of is larger."""

OBJECT_SLACK = 64 * MIB
"""An object is larger than the ranges that one manifest uses of it by this at most."""

FILE_BYTES = 1 << 40
"""Of a file of a checkpoint, and of each part of it."""

MANIFEST_BYTES = 64 * MIB
"""Of a manifest. One of 10,000 tensors has 3 MB."""

MANIFEST_VALUES = 2_000_000
"""Values in a manifest, counted before it is parsed: each takes memory."""

PATH_BYTES = 1024
"""Of the path of a file in a repository."""

PART_BYTES = 255
"""Of each part of it: file systems take no more."""

PATH_FOLDERS = 32
"""Folders within each other that a file of a repository is in."""

SNAPSHOT_FILES = 100_000
"""Files of a repository at a time."""

SNAPSHOT_PATH_LETTERS = 1 << 24
"""Of the paths of all files and folders of a repository together, each folder counted once."""

NESTED_ANCESTORS = 50_000
"""Ancestors that a manifest of format 1 tells of, each as often as it is in it."""

MANIFEST_NESTING = 800
"""Lists and objects within each other in a manifest. Early versions nested one for each ancestor,
and could not write more than about 700.
"""

ARGUMENTS = 64
"""Keyword arguments that a network is built with, beside its size and classes."""

ARGUMENT_LENGTH = 64
"""Letters of such an argument's value, or items if it is a list."""

ARGUMENT_ITEMS = 16
"""Items of a list that a library's own configuration gives: networks have fewer stages."""

BASE_MODELS = 16
"""Base models in a card that are looked at."""

INDEXED_CLASSES = 25_000
"""Class names of a checkpoint that are indexed: enough for ImageNet-21k. It may list any number."""

LEFT_BYTES = 64 * MIB
"""Of a server's disk that no file that is sent takes: names, accounts and the audit log go on."""

RESERVE_BYTES = 16 * MIB
"""Of a server's disk that a file takes which goes when a deletion finds no room."""

PROVEN_BYTES = 64 * MIB
"""Of an object that is sent encoded to a server; a larger one that claims to be more than 16 times
what was sent is decoded twice, and written only the second time."""

SPARE_BYTES = 1 << 30
"""Bytes that must be free where a server's store is; with less it says that it is not ready."""

SCRUB_BYTES = 20 * 10**6
"""Bytes a second that a server reads of its store to see that they are what was stored."""
