"""Draft releases: what is shown, how it is protected, and the page, files and dictionary it goes out in.

* ``cells``: the data model of protection: counts, the sums that join them, the shares made of them.
* ``read``: one snapshot of ``mart``, in plain numbers.
* ``compose``: every figure of the draft and the system of equations the counts stand in.
* ``protect``: which counts to hide; ``attack``: what a reader can still work out (no code in common).
* ``figures``: rounding and the tidy CSV; ``charts``, ``page``: the accessible page; ``dictionary``.
* ``draft``: all of it in order, written whole or not at all; ``picture``: a screenshot.
"""
