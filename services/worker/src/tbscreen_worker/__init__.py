"""tbscreen's workers: decode a radiograph, run the model, decide, record the answer.

__main__ ─▶ app (Celery) ─▶ tasks ─▶ process, one in each child: models, heartbeat,
screening ─▶ imaging, predictor (LiteRT), decision
"""
