import duckdb
import pytest

from dmix.warehouse_schema.catalog.migrate import load_schema, migrate

# The public contract: views may gain columns, never lose or rename one.
CONTRACT = {
    "domains": "taxonomy domain_index domain slug",
    "corpora": "corpus version field synthetic documents rejected classifier created_at",
    "datasets": "dataset name taxonomy tokenizer seq_len seed corpora created_at",
    "domain_tokens": "dataset field domain documents samples tokens tail_tokens shards bytes",
    "start_state": "dataset estimator field domain documents document_weight sample_weight"
    " weight_low weight_high",
    "trajectories": "set_name dataset trajectory_id kind top_k step field domain weight",
    "feedback": "set_name trajectory_id step objective score",
    "agents": "agent preset set_name trained_at parameters config",
    "runs": "run_id dataset kind controller status started_at finished_at config",
    "mixture": "run_id step field domain asked_weight planned_weight planned_samples delivered_samples"
    " delivered_tokens passes reason",
    "run_feedback": "run_id step objective score",
    "domain_loss": "run_id step field domain loss tokens",
    "run_events": "run_id step kind detail",
    "evaluations": "run_id step task metric value stderr",
    "rejects": "corpus version path position reason",
    "duplicates": "dataset corpus document_id first_corpus first_document_id path position first_path"
    " first_position dropped screening corpora",
    "contamination": "dataset corpus document_id objective item_id path position overlap removed screening"
    " corpora",
    "screenings": "kind screening corpora documents found items items_too_short created_at",
    "effects": "name estimator dataset model environment field domain objective effect stderr",
    "effect_objectives": "name estimator dataset objective role signal noise reliability telling",
    "synthetic": "corpus version documents",
}


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect(":memory:") as connection:
        migrate(connection, load_schema())
        yield connection


@pytest.mark.parametrize("view", CONTRACT)
def test_public_views_begin_with_the_columns_of_the_contract(connection, view):
    columns = [name for name, *_ in connection.execute(f"describe {view}").fetchall()]
    wanted = CONTRACT[view].split()
    assert [name for name in columns if name in wanted] == wanted


@pytest.mark.parametrize("view", CONTRACT)
def test_public_views_of_an_empty_catalog_are_empty(connection, view):
    assert connection.execute(f"from {view}").fetchall() == []


def test_every_view_has_a_comment(connection):
    rows = connection.execute("select view_name, comment from duckdb_views() where not internal").fetchall()
    assert {name for name, _ in rows} >= CONTRACT.keys()
    assert [name for name, comment in rows if not comment] == []


def test_every_column_of_every_view_has_a_comment(connection):
    rows = connection.execute(
        "select table_name, column_name, comment from duckdb_columns()"
        " where schema_name = 'main' and not internal"
    ).fetchall()
    assert len(rows) > 100
    assert [(view, column) for view, column, comment in rows if not comment] == []


def test_the_file_of_a_view_has_its_name(connection):
    names = {
        name
        for (name,) in connection.execute(
            "select view_name from duckdb_views() where not internal"
        ).fetchall()
    }
    assert names == {view.name for view in load_schema().views}
