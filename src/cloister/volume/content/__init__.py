"""File contents in sealed blocks: where they lie, what points to them, what is still in memory.

Reading order: `space` (which parts of a backing file are free), `blocks` (sealing and opening),
`table` (which block is where), `file` (one file's bytes), `contents` (all of them, bounded).
"""
