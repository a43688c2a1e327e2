"""Sparkplug B by Google's protobuf library: what pyboot's own reader and writer are measured with.

The schema is that of the specification (Sparkplug 3.0, section 6.4: sparkplug_b.proto), a message
a line: `number:type:name`, `*` for repeated fields, `/` before those of its `oneof value`.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS = "/{0}:uint32:int_value /{1}:uint64:long_value /{2}:float:float_value "
_SCALARS += "/{3}:double:double_value /{4}:bool:boolean_value /{5}:string:string_value"
_SCHEMA = {
    "Payload": "1:uint64:timestamp 2:*Payload.Metric:metrics 3:uint64:seq 4:string:uuid "
    "5:bytes:body",
    "Payload.Template": "1:string:version 2:*Payload.Metric:metrics "
    "3:*Payload.Template.Parameter:parameters 4:string:template_ref 5:bool:is_definition",
    "Payload.Template.Parameter": "1:string:name 2:uint32:type "
    + _SCALARS.format(3, 4, 5, 6, 7, 8),
    "Payload.DataSet": "1:uint64:num_of_columns 2:*string:columns 3:*uint32:types "
    "4:*Payload.DataSet.Row:rows",
    "Payload.DataSet.Row": "1:*Payload.DataSet.DataSetValue:elements",
    "Payload.DataSet.DataSetValue": _SCALARS.format(1, 2, 3, 4, 5, 6),
    "Payload.PropertyValue": "1:uint32:type 2:bool:is_null "
    + _SCALARS.format(3, 4, 5, 6, 7, 8)
    + " /9:Payload.PropertySet:propertyset_value /10:Payload.PropertySetList:propertysets_value",
    "Payload.PropertySet": "1:*string:keys 2:*Payload.PropertyValue:values",
    "Payload.PropertySetList": "1:*Payload.PropertySet:propertyset",
    "Payload.MetaData": "1:bool:is_multi_part 2:string:content_type 3:uint64:size 4:uint64:seq "
    "5:string:file_name 6:string:file_type 7:string:md5 8:string:description",
    "Payload.Metric": "1:string:name 2:uint64:alias 3:uint64:timestamp 4:uint32:datatype "
    "5:bool:is_historical 6:bool:is_transient 7:bool:is_null 8:Payload.MetaData:metadata "
    "9:Payload.PropertySet:properties "
    + _SCALARS.format(10, 11, 12, 13, 14, 15)
    + " /16:bytes:bytes_value /17:Payload.DataSet:dataset_value "
    "/18:Payload.Template:template_value",
}


def payload_class() -> type[Any]:
    """The message `Payload`; what it is made of is reached by its instances."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug")
    made: dict[str, Any] = {}
    for path, fields in _SCHEMA.items():
        outer, _, name = path.rpartition(".")
        message = made[outer].nested_type.add() if outer else file.message_type.add()
        message.name = name
        made[path] = message
        for field in fields.split():
            _add_field(message, *field.split(":"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


def _add_field(message: Any, number: str, kind: str, name: str) -> None:
    known = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=int(number.lstrip("/")))
    field.label = known.LABEL_REPEATED if kind.startswith("*") else known.LABEL_OPTIONAL
    kind = kind.lstrip("*")
    if kind.startswith("Payload"):
        field.type, field.type_name = known.TYPE_MESSAGE, f".sparkplug.{kind}"
    else:
        field.type = getattr(known, f"TYPE_{kind.upper()}")
    if number.startswith("/"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="value")
        field.oneof_index = 0
