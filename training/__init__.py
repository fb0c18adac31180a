from dmix.warehouse_schema.files.processes import keep_interrupt

keep_interrupt("composer.core.engine")
