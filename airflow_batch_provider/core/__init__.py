"""Values and decisions: no I/O, no clock, no Airflow. Facts and ``now`` go in, values come out."""
