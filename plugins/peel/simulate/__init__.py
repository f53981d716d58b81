"""The simulated force: an invented Met that delivers HR and recruitment files every night.

Nobody in it exists. Names, identifiers and addresses are invented and lie outside the ranges in
use; numbers are near what has been published. It shares no code with the pipeline it feeds.

`deliver`, `deliver_missing`, `deliver_nights`, `deliver_postcodes` and `previous_delivery` are all that others need.
"""

from peel.simulate.nights import deliver, deliver_missing, deliver_nights, previous_delivery
from peel.simulate.postcodes import deliver_postcodes

__all__ = ["deliver", "deliver_missing", "deliver_nights", "deliver_postcodes", "previous_delivery"]
