"""The dashboards as Python: each module named ``flyte_*`` has a function ``board`` that returns one of them.

``python -m grafana.generate`` writes them to ``grafana/dashboards/``, which is committed, so that Grafana needs no
Python.
"""
