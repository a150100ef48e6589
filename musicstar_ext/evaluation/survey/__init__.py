"""The listening test of the paper: a page that raters open in a browser, and the points that their rankings give.

`description` says what is compared, `build` makes the folder, `results` checks what raters send back, `scores` counts
and `report` writes. `protocol` is what page and Python must agree on; `page/` holds the page's parts.
"""
