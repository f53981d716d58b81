{# The key of a stage in one version of the process. #}
{% macro stage_key(process_version, stage_code) -%}
    {{ process_version }} || ':' || {{ stage_code }}
{%- endmacro %}


{# A candidate's self-defined ethnicity: never asked is NC; under the 16+1 scheme O1 is Chinese, A4 since 2011. #}
{% macro candidate_ethnicity() -%}
    case
        when ethnicity_code is null then 'NC'
        when ethnicity_scheme = '16+1' and ethnicity_code = 'O1' then 'A4'
        else ethnicity_code
    end
{%- endmacro %}
