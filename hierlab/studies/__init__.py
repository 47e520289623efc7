"""What the labs measure: the experiments, testbeds and figures of one lab or one family, too long for a notebook's cell.

A study stands between the library and a lab: it may call any method, model, trainer, and the bench's figures, and only labs call it.
The method itself never lives here, and what several families need belongs to the library or to `hierlab.lab`.
"""
