from dataclasses import replace

import numpy as np

from nfbench.harness.prediction import predict
from nfbench.harness.probe import RADIUS, ball
from nfbench.harness.protocol import protocol


class Ball:
    kind = "occupancy"
    asked = 0

    def value(self, xyz):
        self.asked += len(xyz)
        return (np.linalg.norm(xyz, axis=1) < RADIUS).astype(np.float32)


def test_predict_tells_of_the_extraction(tmp_path):
    field, scene = Ball(), ball(tmp_path / "scene")
    chosen = protocol("onet-shapenet@1")
    facts = predict(field, scene, chosen, tmp_path / "predictions")
    assert (tmp_path / "predictions" / "mesh.ply").is_file()
    assert facts["extraction_evaluations"] == field.asked
    assert facts["extraction_probes_wrong"] == 0
    assert 0 < facts["extraction_missed_at_most"] < 2e-4
    assert predict(field, replace(scene, surface=None), chosen, tmp_path / "none") == {}
