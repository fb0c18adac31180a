"""Sizes of the quickstart: minutes on two cores."""

NAME = "quickstart"
SEQ_LEN = 128
STEPS = 6
STEP_SAMPLES = 128
BATCH = 16
BASE_TOKENS = 500_000
# Weights of the model, with the 8,192 tokens of the embedded tokenizer.
PARAMETERS = 624_960
ITEMS = 60
DEMO_DOCUMENTS = 6_000
# Scales in nats per token by role, without a farm to measure them: about what a farm of this model measures
# on the generated text (0.16 and 2.5).
SCALES = {"general": 0.2, "target": 2.0}
