"""What tests of several folders share: one Spark session, ranks, the real corpora where there are any."""

import functools
import hashlib
import multiprocessing
import os
import socket
import tempfile
from pathlib import Path

import pytest

# processes share few cores: more threads than cores slow every one of them down
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Spark's workers inherit them; no test has to do with a real account
os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "none"
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
# what a test trusts is not for the user who runs it
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="dmix-test-config-")
# nor is what it measures
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="dmix-test-cache-")

from tests.manifests import dataset_manifest

from dmix.etl.spark.pool import WorkerPool
from dmix.etl.spark.session import spark_session
from dmix.warehouse_schema.catalog import sync
from dmix.warehouse_schema.catalog.migrate import load_schema


def pytest_collection_modifyitems(items):
    """Long files first, so that no test process has minutes to go when the other one is through."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def copied_catalogs():
    """New catalogs begin as a copy of an empty one: to make it anew takes longer than many a test."""
    write, usual = sync._write, load_schema()
    made = functools.cache(sync.empty_catalog)

    @functools.wraps(write)
    def begin_as_copy(warehouse, schema, *, empty, template=None):
        if template is None and schema == usual:
            template = made()
        write(warehouse, schema, empty=empty, template=template)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "_write", begin_as_copy)
        yield


@pytest.fixture(scope="session")
def spark():
    """A session on two cores whose tasks are tried three times, as those of a cluster; one a test process."""
    session = spark_session(master="local[2,3]", app="dmix tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def workers():
    """Two worker processes without Spark; one pool a test process."""
    pool = WorkerPool(2)
    yield pool
    pool.close()


@pytest.fixture(params=["spark", "workers"])
def executor(request):
    """Both ways in which tasks run beside this process, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer  # a second, which most tests need not wait for

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch, request):
    """URL of an empty bucket on that server, which everything in the test talks to."""
    import boto3

    monkeypatch.setenv("S3_ENDPOINT_URL", s3_server)
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=name)
    return f"s3://{name}"


RANK_SECONDS = 240


def _be_rank(rank, *, world, port, work, answer):
    from torch import distributed

    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(world),
        NODE_RANK="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    distributed.init_process_group("gloo", rank=rank, world_size=world)
    answer.send(work())
    answer.close()
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)  # what the parent left in this fork to run at its end may wait for threads that are not here


@pytest.fixture(scope="session")
def on_real_ranks():
    """Runs a function on so many forked processes that gloo joins; returns their answers in rank order."""

    def run(world, work):
        context, started = multiprocessing.get_context("fork"), []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        for rank in range(world):
            here, there = context.Pipe(duplex=False)
            details = {"world": world, "port": port, "work": work, "answer": there}
            process = context.Process(target=_be_rank, args=(rank,), kwargs=details)
            process.start()
            there.close()  # so that a rank that dies ends the pipe
            started.append((process, here))
        try:
            for _, here in started:
                assert here.poll(RANK_SECONDS), "a rank takes too long"
            return [here.recv() for _, here in started]
        finally:
            for process, _ in started:
                process.join(10)
                process.kill()

    return run


@pytest.fixture(scope="session")
def test_data():
    """The folder of the real corpora and evaluation sets."""
    folder = os.environ.get("DMIX_TEST_DATA")
    if not folder or not Path(folder, "corpora").is_dir():
        pytest.skip("DMIX_TEST_DATA names no folder with corpora")
    return Path(folder)


@pytest.fixture(scope="session")
def make_manifest():
    """Makes the manifest of a dataset with these samples per domain (source first), without streams."""
    return dataset_manifest


SAYINGS = (
    "the of and to in a is was it for with on as at by court law judge statute senate match team goal player"
    " league recipe butter flour oven sugar patient disease doctor symptom treatment python function code"
    " file server bank interest stock market loan"
)


@pytest.fixture(scope="session")
def make_writer():
    """Makes the checkpoint of a GPT-NeoX model that draws every token alike, or has random weights.

    With `ends`, each token is the end of text with this probability and else any word, whatever
    came before: the law of its text is known. With None, weights are random.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    def make(folder, *, ends=0.1, positions=64, unnamed=1, specials=True, seed=0):
        words = SAYINGS.split()
        vocabulary = {"<|endoftext|>": 0} | {word: i for i, word in enumerate(words, start=1)}
        config = GPTNeoXConfig(
            vocab_size=len(vocabulary) + unnamed,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
            bos_token_id=0,
            eos_token_id=0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = GPTNeoXForCausalLM(config)
        with torch.no_grad():
            if ends is None:
                network.embed_out.weight.mul_(20)  # so that contexts matter
            else:
                network.gpt_neox.final_layer_norm.weight.zero_()
                network.gpt_neox.final_layer_norm.bias.copy_(torch.eye(16)[0])
                chances = torch.full((config.vocab_size,), (1 - ends) / len(words))
                chances[0] = ends
                network.embed_out.weight[:, 0] = chances.log()
        network.save_pretrained(folder)
        tokenizer = Tokenizer(models.WordLevel(vocabulary))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        if specials:
            fast.add_special_tokens({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
        fast.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def writer(make_writer, tmp_path_factory):
    """A model whose words are drawn alike and whose documents end with probability 0.1."""
    return make_writer(tmp_path_factory.mktemp("writer") / "model")
