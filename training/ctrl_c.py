"""The import of Composer leaves Ctrl-C as it is: this is imported before any module that imports Composer."""

from dmix.warehouse_schema.files.processes import keep_interrupt

keep_interrupt("composer.core.engine")
