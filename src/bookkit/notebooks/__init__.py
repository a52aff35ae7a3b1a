"""The chapters' notebooks.

run.py      run them from a fresh kernel and store them in one normal form
form.py     what must hold of a notebook's text, cells and stored outputs
compare.py  the pytest plugin that compares stored outputs with fresh ones
isolate.py  what keeps a kernel from the network
sweeps.py   compute anew what notebooks look up, and record it
gpu.py      run the GPU cells and record them; needs no Jupyter
"""
