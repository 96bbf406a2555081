"""Nothing depends on a message arriving: with 30 % of all MQTT messages dropped, both ways, everything still converges."""

from stack import BUILD, wait_for


def test_thirty_percent_loss(make_lab):
    lab = make_lab(broker_plugin=(BUILD / "drop_plugin.so", "plugin_opt_probability 0.3\nplugin_opt_seed 7"))
    lab.start_services()
    for i in range(3):
        lab.add_agent(f"lossy-{i}")
    lab.wait_online(3, 90)
    lab.upload("1.0.0"), lab.upload("2.0.0", "cnn_v2_ft_long.onnx")
    lab.wait_rollout(lab.roll_out("1.0.0"), "completed", 120)
    rid = lab.roll_out("2.0.0", "--all", "--wave", "1:soak=1", "--wave", "100%:soak=1", "--probation", "1")
    lab.wait_rollout(rid, "completed", 180)
    assert set(lab.running().values()) == {"2.0.0"}
    lab.ctl.run("rollout", "rollback", rid, "--reason", "loss")
    lab.wait_rollout(rid, "rolled_back", 120)
    assert set(lab.running().values()) == {"1.0.0"}
    wait_for("batches", lambda: int(lab.sql("SELECT min(n) FROM (SELECT count(*) n FROM ingest_batch GROUP BY device_id) x") or 0) >= 5, 60)
    assert gaps_and_repeats(lab) == "0|0"


def gaps_and_repeats(lab) -> str:
    """Sequence numbers missing between 1 and the newest, and health rows that are there twice."""
    return lab.sql("""
        SELECT (SELECT coalesce(sum(last - n), 0) FROM (SELECT max(seq) AS last, count(*) AS n FROM ingest_batch GROUP BY device_id, epoch) b),
               (SELECT count(*) FROM (SELECT 1 FROM health GROUP BY device_id, t HAVING count(*) > 1) h)""")
